// The Chromium that the tests drive.

import { createRequire } from "node:module";

export const require = createRequire(process.env.FILES_TEST_NODE_MODULES + "/");
const { chromium } = require("playwright-core");

const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--no-first-run",
  "--disable-quic",
];

/** A fresh browser. */
export function launch() {
  return chromium.launch({ executablePath: "/usr/bin/chromium", args: FLAGS });
}
