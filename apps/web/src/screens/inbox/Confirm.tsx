import { type ReactNode, useState } from "react";

import { useTexts } from "@/i18n/texts";
import { texts } from "@/screens/inbox/texts";
import { Button } from "@/ui/Button";
import { Dialog } from "@/ui/Dialog";
import { Field, Input, TextArea } from "@/ui/fields";

/** A denial, with its reason. */
export function ConfirmDenial({ title, name, reason, onDeny, onClose }: {
  title: string;
  name: ReactNode;
  reason: string;
  onDeny: (reason: string) => void;
  onClose: () => void;
}) {
  const t = useTexts(texts);
  const [text, setText] = useState(reason);
  return (
    <Dialog
      open
      onOpenChange={onClose}
      title={title}
      description={name}
      footer={
        <>
          <Button onClick={onClose}>{t("cancel")}</Button>
          <Button look="danger" keys="mod+enter" onClick={() => onDeny(text)}>
            {t("deny")}
          </Button>
        </>
      }
    >
      <Field label={t("reason")} hint={t("reason_hint")}>
        <TextArea
          autoFocus
          rows={3}
          maxLength={4_000}
          value={text}
          onChange={(event) => setText(event.target.value)}
          onKeyDown={(event) => {
            if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || event.nativeEvent.isComposing) return;
            event.preventDefault();
            onDeny(text);
          }}
        />
      </Field>
    </Dialog>
  );
}

/** What is at stake is told by typing the name of the action: no single key does it. */
export function ConfirmHighStakes({ action, name, onApprove, onClose }: {
  action: string;
  name: ReactNode;
  onApprove: () => void;
  onClose: () => void;
}) {
  const t = useTexts(texts);
  const [typed, setTyped] = useState("");
  const right = typed.trim() === action;
  return (
    <Dialog
      open
      onOpenChange={onClose}
      title={t("high_stakes_title")}
      description={name}
      footer={
        <>
          <Button onClick={onClose}>{t("cancel")}</Button>
          <Button look="danger" disabled={!right} onClick={onApprove}>
            {t("approve")}
          </Button>
        </>
      }
    >
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (right) onApprove();
        }}
      >
        <Field label={t("type_action", { action })}>
          <Input autoFocus autoComplete="off" spellCheck={false} value={typed} onChange={(event) => setTyped(event.target.value)} />
        </Field>
      </form>
    </Dialog>
  );
}
