import { Settings2 } from "lucide-react";
import { type FormEvent, useState, useSyncExternalStore } from "react";

import { actingAs } from "@/api/client";
import { language, type Language, LANGUAGES, useLanguage, useTexts } from "@/i18n/texts";
import { theme, THEMES } from "@/lib/theme";
import { TIME_STYLES, timeStyle } from "@/lib/time";
import { texts } from "@/shell/texts";
import { Button } from "@/ui/Button";
import { Dialog } from "@/ui/Dialog";
import { Field, Input } from "@/ui/fields";
import { Menu, MenuChoices, MenuItem, MenuLabel, MenuSeparator } from "@/ui/Menu";

/** Theme, language, times and name of this browser's user. */
export function SettingsMenu() {
  const t = useTexts(texts);
  const chosenTheme = useSyncExternalStore(theme.subscribe, theme.get);
  const chosenTimes = useSyncExternalStore(timeStyle.subscribe, timeStyle.get);
  const chosenLanguage = useLanguage();
  const name = useSyncExternalStore(actingAs.subscribe, actingAs.get);
  const [naming, setNaming] = useState(false);
  const languages = Object.entries(LANGUAGES) as [Language, string][];
  return (
    <>
      <Menu
        trigger={
          <button
            type="button"
            className="flex h-8 w-full items-center gap-2 rounded-md px-2 text-xs text-muted hover:bg-hover pointer-coarse:h-10"
          >
            <Settings2 aria-hidden className="size-4 shrink-0" />
            <span className="flex-1 truncate text-left">{t("settings")}</span>
            <span className="max-w-24 truncate text-2xs text-faint">{name}</span>
          </button>
        }
      >
        <MenuLabel>{t("theme")}</MenuLabel>
        <MenuChoices
          value={chosenTheme}
          onChange={theme.set}
          choices={THEMES.map((value) => ({ value, label: t(`theme_${value}`) }))}
        />
        <MenuLabel>{t("language")}</MenuLabel>
        <MenuChoices
          value={chosenLanguage}
          onChange={language.set}
          choices={languages.map(([value, label]) => ({ value, label }))}
        />
        <MenuLabel>{t("times")}</MenuLabel>
        <MenuChoices
          value={chosenTimes}
          onChange={timeStyle.set}
          choices={TIME_STYLES.map((value) => ({ value, label: t(`times_${value}`) }))}
        />
        <MenuSeparator />
        <MenuItem onSelect={() => setNaming(true)}>{t("change_name")}</MenuItem>
      </Menu>
      {naming && <NameDialog name={name} onClose={() => setNaming(false)} />}
    </>
  );
}

function NameDialog({ name, onClose }: { name: string; onClose: () => void }) {
  const t = useTexts(texts);
  const [text, setText] = useState(name);
  const save = (event: FormEvent): void => {
    event.preventDefault();
    if (text.trim() !== "") actingAs.set(text.trim());
    onClose();
  };
  return (
    <Dialog
      open
      onOpenChange={(open) => !open && onClose()}
      title={t("acting_as")}
      description={t("acting_as_hint")}
      footer={
        <>
          <Button onClick={onClose}>{t("cancel")}</Button>
          <Button look="primary" type="submit" form="acting-as" disabled={text.trim() === ""}>
            {t("save")}
          </Button>
        </>
      }
    >
      <form id="acting-as" onSubmit={save}>
        <Field label={t("acting_as")}>
          <Input value={text} onChange={(event) => setText(event.target.value)} maxLength={64} />
        </Field>
      </form>
    </Dialog>
  );
}
