import clsx from "clsx";
import { X } from "lucide-react";
import { Dialog as Radix } from "radix-ui";
import type { ReactNode } from "react";

import { useTexts } from "@/i18n/texts";
import { IconButton } from "@/ui/Button";
import { texts } from "@/ui/texts";

/** A modal in the middle. Focus goes back to where it was when it closes. */
export function Dialog({ open, onOpenChange, title, description, children, footer, wide = false }: {
  open: boolean;
  onOpenChange: (open: boolean) => void;
  title: string;
  description?: ReactNode;
  children?: ReactNode;
  footer?: ReactNode;
  wide?: boolean;
}) {
  const t = useTexts(texts);
  return (
    <Radix.Root open={open} onOpenChange={onOpenChange}>
      <Radix.Portal>
        <Radix.Overlay className="fixed inset-0 z-40 animate-fade bg-scrim" />
        <Radix.Content
          {...(description === undefined ? { "aria-describedby": undefined } : {})}
          className={clsx(
            "fixed inset-x-3 top-[12vh] z-50 mx-auto flex max-h-[76vh] animate-in flex-col overflow-hidden rounded-lg border bg-raised shadow-pop",
            wide ? "max-w-2xl" : "max-w-md",
          )}
        >
          <header className="flex items-start gap-2 border-b py-3 pr-2 pl-4">
            <div className="min-w-0 flex-1 space-y-0.5">
              <Radix.Title className="text-md font-semibold">{title}</Radix.Title>
              {description !== undefined && (
                <Radix.Description className="text-xs text-muted">{description}</Radix.Description>
              )}
            </div>
            <Radix.Close asChild>
              <IconButton label={t("close")} icon={<X aria-hidden className="size-4" />} />
            </Radix.Close>
          </header>
          {children !== undefined && <div className="min-h-0 overflow-y-auto p-4">{children}</div>}
          {footer !== undefined && <footer className="flex justify-end gap-2 border-t bg-sunken px-4 py-3">{footer}</footer>}
        </Radix.Content>
      </Radix.Portal>
    </Radix.Root>
  );
}
