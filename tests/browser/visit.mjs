// Visits pages in a real Chromium and tells what came of it.
//
// Standard input: a JSON array of URLs. Standard output: a JSON array with, for each, whether it became a
// download, what the browser complained of, the text that is shown, and the share of its pixels by colour.

import { text } from "node:stream/consumers";

import { launch } from "./chromium.mjs";

// What a PDF's viewer and late scripts need until they have shown what they have.
const SETTLE_MS = 1500;

/** The share of red and of green pixels in a PNG, counted by the browser itself. */
async function colours(context, png) {
  const page = await context.newPage();
  const shares = await page.evaluate(async (base64) => {
    const image = new Image();
    image.src = "data:image/png;base64," + base64;
    await image.decode();
    const canvas = new OffscreenCanvas(image.width, image.height);
    const drawing = canvas.getContext("2d");
    drawing.drawImage(image, 0, 0);
    const { data } = drawing.getImageData(0, 0, image.width, image.height);
    let red = 0;
    let green = 0;
    for (let at = 0; at < data.length; at += 4) {
      const [r, g, b] = data.slice(at, at + 3);
      if (r > 200 && g < 60 && b < 60) red++;
      if (g > 150 && r < 60 && b < 60) green++;
    }
    return { red: (4 * red) / data.length, green: (4 * green) / data.length };
  }, png.toString("base64"));
  await page.close();
  return shares;
}

/** Every text in the page, read without running anything in it. */
async function shownText(page) {
  const session = await page.context().newCDPSession(page);
  const { documents, strings } = await session.send("DOMSnapshot.captureSnapshot", {
    computedStyles: [],
  });
  return documents
    .flatMap((document) => document.layout.text)
    .map((index) => strings[index] ?? "")
    .join("\n");
}

async function visit(context, url) {
  const page = await context.newPage();
  const downloads = [];
  page.on("download", (download) => downloads.push(download));
  const complaints = [];
  page.on("console", (line) => complaints.push(line.text()));
  // A download ends the visit early, which is no failure here.
  await page.goto(url).catch(() => {});
  await page.waitForTimeout(SETTLE_MS);
  const result = {
    url,
    downloads: downloads.length,
    complaints,
    text: await shownText(page),
    ...(await colours(context, await page.screenshot())),
  };
  await page.close();
  return result;
}

const urls = JSON.parse(await text(process.stdin));
const browser = await launch();
const context = await browser.newContext();
const results = [];
for (const url of urls) {
  results.push(await visit(context, url));
}
await browser.close();
process.stdout.write(JSON.stringify(results));
