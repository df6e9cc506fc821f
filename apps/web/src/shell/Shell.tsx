import { Link, Outlet, useLocation, useNavigate } from "@tanstack/react-router";
import { Menu as MenuIcon, MapPinOff, Search, X } from "lucide-react";
import { lazy, Suspense, useEffect, useState } from "react";

import { NAVIGATION, type NavigationEntry } from "@/app/navigation";
import { translate, useLanguage, useTexts } from "@/i18n/texts";
import { useKeys } from "@/lib/keys";
import { KeySheet } from "@/shell/KeySheet";
import { KillSwitchBanner } from "@/shell/KillSwitchBanner";
import { Logo } from "@/shell/Logo";
import { SettingsMenu } from "@/shell/SettingsMenu";
import { StatusBadge } from "@/shell/StatusBadge";
import { texts } from "@/shell/texts";
import { IconButton } from "@/ui/Button";
import { EmptyState } from "@/ui/EmptyState";
import { Keys } from "@/ui/Keys";
import { Pane } from "@/ui/Pane";
import { ScreenHeader } from "@/ui/ScreenHeader";
import { Skeleton } from "@/ui/Skeleton";

const loadPalette = () => import("@/shell/Palette");
const Palette = lazy(loadPalette);

/** What stands around every screen. */
export function Shell() {
  const t = useTexts(texts);
  const language = useLanguage();
  const navigate = useNavigate();
  const [palette, setPalette] = useState(false);
  const [sheet, setSheet] = useState(false);
  const [drawer, setDrawer] = useState(false);
  useEffect(() => {
    // Once all else is there: the first letters typed into the palette must find it open.
    const timer = setTimeout(() => void loadPalette().catch(() => undefined), 2_000);
    return () => clearTimeout(timer);
  }, []);
  useKeys([
    { keys: "mod+k", label: t("palette"), run: () => setPalette(true), everywhere: true },
    { keys: "?", label: t("keys"), run: () => setSheet(true) },
    ...NAVIGATION.map((entry) => ({
      keys: entry.keys,
      label: translate(entry.label, language),
      run: () => void navigate({ to: entry.to }),
    })),
  ]);
  return (
    <div className="flex h-full flex-col">
      <a
        href="#content"
        className="absolute z-50 m-2 -translate-y-20 rounded-md bg-accent-fill px-3 py-2 text-on-accent focus:translate-y-0"
      >
        {t("skip")}
      </a>
      <Pane>
        <KillSwitchBanner />
      </Pane>
      <header className="flex h-12 shrink-0 items-center gap-1 border-b bg-raised px-2 md:hidden">
        <IconButton
          label={t("open_navigation")}
          aria-expanded={drawer}
          icon={drawer ? <X aria-hidden className="size-5" /> : <MenuIcon aria-hidden className="size-5" />}
          onClick={() => setDrawer(!drawer)}
        />
        <Logo />
        <span className="flex-1" />
        <IconButton
          label={t("palette")}
          icon={<Search aria-hidden className="size-5" />}
          onClick={() => setPalette(true)}
        />
      </header>
      <div className="relative flex min-h-0 flex-1">
        <aside
          className={`${drawer ? "absolute inset-y-0 left-0 z-30 flex shadow-pop" : "hidden"} w-56 shrink-0 flex-col border-r bg-sunken md:static md:flex md:w-52 md:shadow-none`}
        >
          <div className="hidden h-12 items-center px-4 md:flex">
            <Logo />
          </div>
          <div className="px-2 pt-2 md:pt-0">
            <button
              type="button"
              onClick={() => setPalette(true)}
              className="flex h-8 w-full items-center gap-2 rounded-md border bg-raised px-2 text-xs text-muted hover:border-line-strong"
            >
              <Search aria-hidden className="size-3.5" />
              <span className="flex-1 text-left">{t("palette_open")}</span>
              <Keys keys="mod+k" />
            </button>
          </div>
          <nav aria-label={t("navigation")} className="min-h-0 flex-1 overflow-y-auto p-2">
            <ul className="space-y-0.5">
              {NAVIGATION.map((entry) => (
                <li key={entry.to}>
                  <NavigationLink entry={entry} onFollow={() => setDrawer(false)} />
                </li>
              ))}
            </ul>
          </nav>
          <div className="space-y-0.5 border-t p-2">
            <Pane>
              <StatusBadge />
            </Pane>
            <SettingsMenu />
          </div>
        </aside>
        <main id="content" tabIndex={-1} className="flex min-h-0 min-w-0 flex-1 flex-col outline-none">
          <Pane>
            <Suspense fallback={<Skeleton />}>
              <Outlet />
            </Suspense>
          </Pane>
        </main>
      </div>
      {palette && (
        <Suspense fallback={null}>
          <Palette onClose={() => setPalette(false)} onKeys={() => setSheet(true)} />
        </Suspense>
      )}
      <KeySheet open={sheet} onOpenChange={setSheet} />
    </div>
  );
}

function NavigationLink({ entry, onFollow }: { entry: NavigationEntry; onFollow: () => void }) {
  const language = useLanguage();
  const also = useLocation({ select: ({ pathname }) => entry.also !== undefined && pathname.startsWith(entry.also) });
  return (
    <Link
      to={entry.to}
      onClick={onFollow}
      {...(also ? { "aria-current": "page" as const } : {})}
      className="flex h-8 items-center gap-2.5 rounded-md px-2 text-xs font-medium text-muted hover:bg-hover hover:text-text aria-[current=page]:bg-selected aria-[current=page]:text-text pointer-coarse:h-11"
    >
      <entry.icon aria-hidden className="size-4 shrink-0" />
      <span className="min-w-0 flex-1 truncate">{translate(entry.label, language)}</span>
      {entry.Count !== undefined && <entry.Count />}
    </Link>
  );
}

/** An address that no screen has. */
export function NotFound() {
  const t = useTexts(texts);
  return (
    <>
      <ScreenHeader title={t("not_found")} />
      <EmptyState
        icon={<MapPinOff />}
        title={t("not_found")}
        hint={t("not_found_hint")}
        action={
          <Link to="/timeline" className="text-xs font-medium text-accent underline">
            {t("to_timeline")}
          </Link>
        }
      />
    </>
  );
}
