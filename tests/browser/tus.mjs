// Uploads a file from a page in a real Chromium with the stock tus client, and tells what came of it.
//
// Standard input: a JSON object with the page's address, the endpoint and the size of the file. Standard output:
// how often the client tried again, the offsets that it was told, the file's id, and the hash of what was sent.

import { text } from "node:stream/consumers";

import { launch, require } from "./chromium.mjs";

const { page: address, endpoint, size } = JSON.parse(await text(process.stdin));
const browser = await launch();
const page = await browser.newPage();
await page.goto(address);
await page.addScriptTag({ path: require.resolve("tus-js-client/dist/tus.min.js") });
const result = await page.evaluate(
  ({ endpoint, size }) =>
    new Promise((resolve, reject) => {
      const bytes = new Uint8Array(size);
      for (let at = 0; at < size; at++) bytes[at] = at % 251;
      let retries = 0;
      let fileId = "";
      const resumedAt = [];
      const upload = new tus.Upload(new Blob([bytes]), {
        endpoint,
        retryDelays: [0, 50, 100, 200, 400, 800, 1600],
        onShouldRetry: () => ++retries > 0,
        onAfterResponse: (request, response) => {
          if (request.getMethod() === "HEAD") resumedAt.push(Number(response.getHeader("Upload-Offset")));
          fileId = response.getHeader("Files-File-Id") || fileId;
        },
        onError: (error) => reject(new Error(String(error))),
        onSuccess: async () => {
          const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
          const sha256 = [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
          resolve({ retries, resumed_at: resumedAt, file_id: fileId, sha256 });
        },
      });
      upload.start();
    }),
  { endpoint, size },
);
await browser.close();
process.stdout.write(JSON.stringify(result));
