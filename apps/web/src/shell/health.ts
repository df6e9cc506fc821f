/** How the whole system is: from the desktop's supervisor where there is one, else from the API's readiness. */

import { useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";

import { unreachable } from "@/api/problem";

export type Phase = "unknown" | "starting" | "healthy" | "degraded" | "fatal" | "stopped" | "unreachable";

export interface Component {
  name: string;
  ok: boolean;
  /** A word of the supervisor, or what the check says. */
  detail: string | null;
  restarts?: number;
  nextRestartAt?: string | null;
}

export interface SystemHealth {
  phase: Phase;
  components: Component[];
}

interface RuntimeComponent {
  name: string;
  enabled: boolean;
  state: string;
  restart_attempts: number;
  next_restart_at: string | null;
  last_error_message: string | null;
}

export interface RuntimeStatus {
  phase: Exclude<Phase, "unknown" | "unreachable">;
  components: Record<string, RuntimeComponent>;
}

/** What the desktop window injects before the page's own scripts. */
export interface DesktopRuntime {
  getStatus(): Promise<RuntimeStatus>;
  subscribe(listener: (status: RuntimeStatus) => void): () => void;
}

declare global {
  interface Window {
    desktopRuntime?: DesktopRuntime;
  }
}

export const POLL_S = 5;

interface Readiness {
  ok: boolean;
  checks: Record<string, { ok: boolean; detail: string | null }>;
}

async function readiness(): Promise<Readiness> {
  let response: Response;
  try {
    response = await fetch("/readyz", { headers: { accept: "application/json" } });
  } catch (error) {
    throw unreachable(error);
  }
  return (await response.json()) as Readiness; // 503 tells which part is away
}

export function ofRuntime(status: RuntimeStatus): SystemHealth {
  const components = Object.values(status.components)
    .filter((component) => component.enabled)
    .map((component) => ({
      name: component.name,
      ok: component.state === "healthy",
      detail: component.last_error_message ?? component.state,
      restarts: component.restart_attempts,
      nextRestartAt: component.next_restart_at,
    }));
  return { phase: status.phase, components };
}

export function ofReadiness(report: Readiness): SystemHealth {
  const components = Object.entries(report.checks).map(([name, check]) => ({ name, ...check }));
  return { phase: report.ok ? "healthy" : "degraded", components };
}

function useRuntime(): SystemHealth | null {
  const [status, setStatus] = useState<RuntimeStatus | null>(null);
  useEffect(() => {
    const runtime = window.desktopRuntime;
    if (runtime === undefined) return undefined;
    let there = true;
    runtime.getStatus().then((now) => there && setStatus(now), () => undefined);
    const stop = runtime.subscribe(setStatus);
    return () => {
      there = false;
      stop();
    };
  }, []);
  return status === null ? null : ofRuntime(status);
}

export function useSystemHealth(): SystemHealth {
  const runtime = useRuntime();
  const asked = useQuery({
    queryKey: ["readyz"],
    queryFn: readiness,
    refetchInterval: POLL_S * 1_000,
    retry: false,
    staleTime: 1_000,
  });
  if (runtime !== null) return runtime;
  if (asked.error !== null) return { phase: "unreachable", components: [] };
  return asked.data === undefined ? { phase: "unknown", components: [] } : ofReadiness(asked.data);
}
