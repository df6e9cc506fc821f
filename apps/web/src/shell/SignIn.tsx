import { useQueryClient } from "@tanstack/react-query";
import { KeyRound } from "lucide-react";
import { type FormEvent, type ReactNode, useEffect, useState, useSyncExternalStore } from "react";

import { signedOut } from "@/api/session";
import { useTexts } from "@/i18n/texts";
import { texts } from "@/shell/texts";
import { Button } from "@/ui/Button";
import { Field, Input } from "@/ui/fields";

/** The path of a one-time link, if that is what was pasted; its host may be another name of this one. */
export function linkPath(pasted: string): string | null {
  return /\/auth\/once\/[\w.-]+/.exec(pasted)?.[0] ?? null;
}

/** Shows the way in, in place of everything, once the API has asked for a session. */
export function SignInGate({ children }: { children: ReactNode }) {
  const closed = useSyncExternalStore(signedOut.subscribe, signedOut.get);
  return closed ? <SignIn /> : children;
}

function SignIn() {
  const t = useTexts(texts);
  const queries = useQueryClient();
  const [pasted, setPasted] = useState("");
  const [wrong, setWrong] = useState(false);
  const again = (): void => {
    signedOut.set(false);
    void queries.resetQueries();
  };
  useEffect(() => {
    // The link was followed in another tab: this one has the session too.
    const look = (): void => {
      void fetch("/v1/rooms?limit=1").then((answer) => {
        if (answer.ok) {
          signedOut.set(false);
          void queries.resetQueries();
        }
      }, () => undefined);
    };
    window.addEventListener("focus", look);
    return () => window.removeEventListener("focus", look);
  }, [queries]);
  const follow = (event: FormEvent): void => {
    event.preventDefault();
    const path = linkPath(pasted);
    if (path === null) setWrong(true);
    else window.location.assign(path);
  };
  return (
    <main className="grid h-full place-items-center p-4">
      <div className="w-full max-w-sm animate-in space-y-4 rounded-lg border bg-raised p-6 shadow-pop">
        <KeyRound aria-hidden className="size-6 text-accent" />
        <h1 className="text-lg font-semibold">{t("sign_in")}</h1>
        <p className="text-xs text-muted">{t("sign_in_why")}</p>
        <code className="block rounded-md border bg-sunken px-3 py-2 font-mono text-xs select-all">agentos open</code>
        <form onSubmit={follow} className="space-y-3">
          <Field label={t("sign_in_paste")}>
            <Input value={pasted} onChange={(event) => setPasted(event.target.value)} autoComplete="off" spellCheck={false} />
          </Field>
          {wrong && (
            <p role="alert" className="text-xs text-danger">
              {t("sign_in_wrong")}
            </p>
          )}
          <div className="flex gap-2">
            <Button look="primary" type="submit" disabled={pasted === ""}>
              {t("sign_in")}
            </Button>
            <Button onClick={again}>{t("sign_in_again")}</Button>
          </div>
        </form>
      </div>
    </main>
  );
}
