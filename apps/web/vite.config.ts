import { fileURLToPath, URL } from "node:url";

import tailwindcss from "@tailwindcss/vite";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

// `agentos up` listens here; the development server passes on whatever is not a page.
const api = "http://127.0.0.1:7717";
const served = ["/v1", "/healthz", "/readyz", "/health", "/metrics", "/openapi.json", "/docs"];

export default defineConfig({
  plugins: [react(), tailwindcss()],
  resolve: { alias: { "@": fileURLToPath(new URL("./src", import.meta.url)) } },
  build: {
    // Package data of the API: what it serves at /.
    outDir: "../../services/api/agentos_api/ui",
    emptyOutDir: true,
    // Browsers that know light-dark(), which the tokens are made of.
    target: ["chrome123", "firefox120", "safari17.5"],
    // Fonts and pictures stay files: the content security policy allows no data: address.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: { proxy: Object.fromEntries(served.map((path) => [path, { target: api, changeOrigin: true }])) },
  test: { environment: "happy-dom", include: ["src/**/*.test.{ts,tsx}"], reporters: ["default"] },
});
