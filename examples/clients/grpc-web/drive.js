// Drives the page in a headless browser, as somebody would, and saves the video.
//
//   node drive.js PAGE_URL CHROMIUM OUT.mp4 PROMPT...
//
// Prints what the page says and what the video element knows, as JSON.
import { chromium } from 'playwright-core';

const [url, executablePath, out, ...prompts] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath,
  args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
try {
  const page = await browser.newPage();
  page.on('console', (message) => console.error(message.text()));
  page.on('pageerror', (error) => console.error(error));
  await page.goto(url);
  await page.getByLabel('Scenes').fill(prompts.join('\n'));
  await page.getByRole('button', { name: 'Render' }).click();
  const status = page.getByRole('status');
  await status.filter({ hasText: /pictures|failed/ }).waitFor();
  const told = await status.textContent();
  let shown = null;
  if (!told.includes('failed')) {
    await page.waitForFunction(() => document.querySelector('video').readyState >= 1);
    shown = await page.locator('video').evaluate(({ duration, videoWidth, videoHeight }) => ({ duration, videoWidth, videoHeight }));
    const saved = page.waitForEvent('download');
    await page.getByRole('link', { name: 'Save the video' }).click();
    await (await saved).saveAs(out);
  }
  const progress = await page.getByRole('progressbar').evaluate((bar) => bar.value);
  console.log(JSON.stringify({ told, shown, progress }));
} finally {
  await browser.close();
}
