import "@/styles/fonts.css";
import "@/styles/main.css";

import { QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { setNonce } from "get-nonce";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

import { makeQueryClient } from "@/api/queries";
import { makeRouter } from "@/app/router";
import { language } from "@/i18n/texts";
import { listenForKeys } from "@/lib/keys";
import { followTheme } from "@/lib/theme";
import { SignInGate } from "@/shell/SignIn";

function followLanguage(): void {
  const apply = (): void => {
    document.documentElement.lang = language.get();
  };
  apply();
  language.subscribe(apply);
}

// Dialogs stop the page behind them from scrolling by a style element, which the security policy lets in by its nonce.
const nonce = document.querySelector<HTMLMetaElement>("meta[name=csp-nonce]")?.nonce;
if (nonce) setNonce(nonce);

followTheme();
followLanguage();
listenForKeys();

const queries = makeQueryClient();
const router = makeRouter(queries);
const root = document.querySelector("#root");
if (root !== null) {
  createRoot(root).render(
    <StrictMode>
      <QueryClientProvider client={queries}>
        <SignInGate>
          <RouterProvider router={router} />
        </SignInGate>
      </QueryClientProvider>
    </StrictMode>,
  );
}
