/**
 * The page in a browser, opened from a file as its readers do: node page.mjs CHROMIUM FOLDER. FOLDER holds report.html of runs:
 * served/ (with an SLO), pools/, and half/ (a run that was cut short).
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { chromium } from 'playwright-core';

const [executablePath, folder] = process.argv.slice(2);
const profile = mkdtempSync(join(tmpdir(), 'orrery-page-'));
const quiet = ['no-sandbox', 'disable-gpu', 'disable-quic', 'no-first-run', 'disable-background-networking', 'disable-component-update', 'disable-sync'];
const context = await chromium.launchPersistentContext(profile, {
  executablePath,
  headless: true,
  args: quiet.map((flag) => `--${flag}`),
  viewport: { width: 1240, height: 900 },
});

/** Opens a run's page; whatever it complains about, and whatever it asks of a network, fails the test. */
async function open(run, { scheme = 'light', width = 1240 } = {}) {
  const page = await context.newPage();
  const complaints = [];
  page.on('console', (message) => ['error', 'warning'].includes(message.type()) && complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('request', (request) => /^https?:/.test(request.url()) && complaints.push(`asked for ${request.url()}`));
  await page.emulateMedia({ colorScheme: scheme });
  await page.setViewportSize({ width, height: 900 });
  await page.goto(pathToFileURL(resolve(folder, run, 'report.html')).href);
  await page.waitForSelector('footer');
  return { page, complaints };
}

const tests = {
  async 'does it open from a file with all its parts, without a word on the console?'() {
    const { page, complaints } = await open('served');
    for (const id of ['promises', 'latency', 'load', 'breakdown', 'roofline', 'worst', 'timeline', 'confidence', 'settings'])
      assert.equal(await page.locator(`section#${id}`).count(), 1, id);
    assert.equal(await page.locator('svg.dial').count(), 2);
    assert.equal(await page.locator('#latency figure.cdf svg path.line').count(), 4);
    assert.equal(await page.locator('#load figure.time svg').count(), 4);
    assert.ok((await page.locator('#roofline circle.op').count()) > 8);
    assert.match(await page.locator('h1').innerText(), /PASS|FAIL|UNSTABLE/);
    assert.equal(await page.getByText('could not be drawn').count(), 0);
    assert.deepEqual(complaints, []);
  },
  async 'are the numbers those of the run?'() {
    const { page } = await open('served');
    const data = await page.evaluate(() => JSON.parse(document.getElementById('orrery-data').textContent));
    const mean = data.summary.mean_ttft_ms;
    const shown = await page.locator('#latency tbody tr').first().locator('td').first().innerText();
    const [value, unit] = shown.split(' ');
    const factor = { '\u00b5s': 1e-3, ms: 1, s: 1e3 }[unit];
    assert.ok(Math.abs(Number(value) * factor - mean) <= 0.01 * mean, `${shown} for ${mean} ms`);
  },
  async 'does one cursor move in all charts over time?'() {
    const { page } = await open('served');
    await page.locator('#load figure.time svg').first().focus();
    await page.keyboard.press('ArrowLeft');
    assert.equal(await page.locator('#load .cursor[visibility=visible]').count(), 4);
    await page.keyboard.press('Escape');
    assert.equal(await page.locator('#load .cursor[visibility=visible]').count(), 0);
  },
  async 'can the keyboard reach everything that acts?'() {
    const { page } = await open('served');
    const wanted = await page.locator('button, a[href], summary, input:checked, svg.steered, canvas').count();
    const reached = new Set();
    for (let i = 0; i < wanted + 60; i += 1) {
      await page.keyboard.press('Tab');
      const it = await page.evaluate(() => {
        const e = document.activeElement;
        if (!e || e === document.body || !e.matches('button, a[href], summary, input:checked, svg.steered, canvas')) return null;
        e.dataset.seen ??= String(document.querySelectorAll('[data-seen]').length);
        return e.dataset.seen;
      });
      if (it !== null) reached.add(it);
    }
    assert.equal(reached.size, wanted);
  },
  async 'do bands and lists switch to TTFT, and curves to their tail?'() {
    const { page, complaints } = await open('served');
    for (const [group, word] of [['Bands of', 'TTFT'], ['Worst by', 'TTFT'], ['Percentiles', 'Tail']])
      await page.getByRole('group', { name: group }).getByText(word).click();
    // Charts are drawn when the browser finds time.
    await page.locator('#latency').getByText('p99.99').first().waitFor({ state: 'attached', timeout: 10_000 });
    await page.locator('#worst .legend').getByText('decode').waitFor({ state: 'detached', timeout: 10_000 });
    assert.deepEqual(complaints, []);
  },
  async 'does it follow the colours of the system, and the reader?'() {
    const { page } = await open('served', { scheme: 'dark' });
    const becomes = (colour) => page.waitForFunction((c) => getComputedStyle(document.body).backgroundColor === c, colour, { timeout: 5000 });
    const [dark, light] = ['rgb(14, 17, 22)', 'rgb(247, 247, 245)'];
    await becomes(dark);
    await page.emulateMedia({ colorScheme: 'light' });
    await becomes(light);
    await page.locator('#theme').click();
    await page.locator('#theme').click();
    await becomes(dark);
    await page.locator('#theme').click();
  },
  async 'does it fit narrow windows?'() {
    for (const run of ['served', 'pools']) {
      const { page } = await open(run, { width: 380 });
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), run);
    }
  },
  async 'does it print, in light colours?'() {
    const { page } = await open('served', { scheme: 'dark' });
    const pdf = await page.pdf({ format: 'A4' });
    assert.ok(pdf.length > 20_000);
    await page.emulateMedia({ media: 'print', colorScheme: 'dark' });
    assert.equal(await page.evaluate(() => getComputedStyle(document.body).backgroundColor), 'rgb(255, 255, 255)');
    assert.equal(await page.locator('nav').isVisible(), false);
  },
  async 'does a run that was cut short say so, and show what it has?'() {
    const { page, complaints } = await open('half');
    assert.match(await page.locator('.banner').innerText(), /summary\.json/);
    assert.match(await page.locator('h1').innerText(), /INCOMPLETE/);
    assert.equal(await page.locator('#load figure.time svg').count(), 3);
    assert.deepEqual(complaints, []);
  },
};

let failed = 0;
for (const [name, test] of Object.entries(tests)) {
  try {
    await test();
    console.log(`ok    ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAIL  ${name}\n      ${error.message.replaceAll('\n', '\n      ')}`);
  }
  for (const page of context.pages().slice(1)) await page.close();
}
await context.close();
rmSync(profile, { recursive: true, force: true });
process.exit(failed ? 1 : 0);
