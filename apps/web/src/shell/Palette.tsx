import { useNavigate } from "@tanstack/react-router";
import { Command } from "cmdk";
import { Dialog } from "radix-ui";
import type { ReactNode } from "react";

import { $api } from "@/api/client";
import { translate, useLanguage, useTexts } from "@/i18n/texts";
import { theme, THEMES } from "@/lib/theme";
import { NAVIGATION } from "@/app/navigation";
import { type PageCommand, usePageCommands } from "@/shell/commands";
import { texts } from "@/shell/texts";
import { Keys } from "@/ui/Keys";

/** Everything by name: screens, rooms, what this screen can do. */
export default function Palette({ onClose, onKeys }: { onClose: () => void; onKeys: () => void }) {
  const t = useTexts(texts);
  const language = useLanguage();
  const navigate = useNavigate();
  const here = usePageCommands();
  const rooms = $api.useQuery("get", "/v1/rooms", { params: { query: { limit: 100 } } });
  const then = (run: () => void) => () => {
    onClose();
    run();
  };
  return (
    <Dialog.Root open onOpenChange={(open) => !open && onClose()}>
      <Dialog.Portal>
        <Dialog.Overlay className="fixed inset-0 z-40 animate-fade bg-scrim" />
        <Dialog.Content
          aria-describedby={undefined}
          className="fixed inset-x-3 top-[12vh] z-50 mx-auto max-w-xl animate-in overflow-hidden rounded-lg border bg-raised shadow-pop"
        >
          <Dialog.Title className="sr-only">{t("palette")}</Dialog.Title>
          <Command label={t("palette")} loop className="flex max-h-[60vh] flex-col">
            <Command.Input
              placeholder={t("palette_hint")}
              className="h-12 w-full shrink-0 border-b bg-transparent px-4 text-md outline-none"
            />
            <Command.List className="min-h-0 overflow-y-auto p-1.5">
              <Command.Empty className="p-6 text-center text-xs text-muted">{t("palette_none")}</Command.Empty>
              {here.length > 0 && (
                <Group heading={t("palette_here")}>
                  {here.map((command) => (
                    <Entry key={command.id} command={command} onSelect={then(command.run)} />
                  ))}
                </Group>
              )}
              <Group heading={t("palette_go")}>
                {NAVIGATION.map((entry) => (
                  <Entry
                    key={entry.to}
                    command={{
                      id: `go:${entry.to}`,
                      label: translate(entry.label, language),
                      icon: <entry.icon aria-hidden className="size-4" />,
                      keys: entry.keys,
                      run: () => undefined,
                    }}
                    onSelect={then(() => void navigate({ to: entry.to }))}
                  />
                ))}
              </Group>
              <Group heading={t("palette_rooms")}>
                {rooms.data?.rooms.map((room) => (
                  <Entry
                    key={room.room_id}
                    command={{ id: `room:${room.room_id}`, label: room.title, run: () => undefined }}
                    onSelect={then(() => void navigate({ to: "/rooms/$roomId", params: { roomId: room.room_id } }))}
                  />
                ))}
              </Group>
              <Group heading={t("palette_page")}>
                {THEMES.map((choice) => (
                  <Entry
                    key={choice}
                    command={{ id: `theme:${choice}`, label: `${t("theme")}: ${t(`theme_${choice}`)}`, run: () => undefined }}
                    onSelect={then(() => theme.set(choice))}
                  />
                ))}
                <Entry command={{ id: "keys", label: t("keys"), keys: "?", run: onKeys }} onSelect={then(onKeys)} />
              </Group>
            </Command.List>
          </Command>
        </Dialog.Content>
      </Dialog.Portal>
    </Dialog.Root>
  );
}

function Group({ heading, children }: { heading: string; children: ReactNode }) {
  return (
    <Command.Group
      heading={heading}
      className="[&_[cmdk-group-heading]]:px-2.5 [&_[cmdk-group-heading]]:pt-2 [&_[cmdk-group-heading]]:pb-1 [&_[cmdk-group-heading]]:text-2xs [&_[cmdk-group-heading]]:font-medium [&_[cmdk-group-heading]]:text-faint"
    >
      {children}
    </Command.Group>
  );
}

function Entry({ command, onSelect }: { command: PageCommand; onSelect: () => void }) {
  return (
    <Command.Item
      value={command.id}
      keywords={[command.label]}
      onSelect={onSelect}
      className="flex h-8 cursor-default items-center gap-2.5 rounded-md px-2.5 text-xs aria-selected:bg-hover pointer-coarse:h-11"
    >
      <span className="grid size-4 place-items-center text-faint">{command.icon}</span>
      <span className="min-w-0 flex-1 truncate">{command.label}</span>
      {command.keys !== undefined && command.keys !== "" && <Keys keys={command.keys} />}
    </Command.Item>
  );
}
