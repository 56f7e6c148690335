import { type Report } from '../data';
import { card, copyButton, fold, h, section, table } from '../dom';
import { commandLine, pct, whole } from '../format';
import { kernelName, provenanceText } from '../verdict';
import { provenanceBar } from './overview';

function kernelShares(shares: Record<string, number>): HTMLElement {
  const rows = Object.entries(shares)
    .filter(([, share]) => share >= 0.001)
    .sort((a, b) => b[1] - a[1]);
  const most = rows[0]?.[1] ?? 1;
  return h(
    'div',
    { class: 'shares' },
    ...rows.map(([cls, share]) =>
      h(
        'div',
        {},
        h('span', { title: cls }, kernelName(cls)),
        h('div', { class: 'track' }, h('i', { style: `width:${((100 * share) / most).toFixed(1)}%` })),
        h('span', { class: 'number' }, pct(share)),
      ),
    ),
  );
}

const MEANING: Record<string, string> = {
  measured: 'that very shape was run on that device',
  interpolated: 'inside the range of what was measured and fitted',
  extrapolated: 'outside that range',
  analytic: 'a datasheet\u2019s roofline: nothing was measured',
};

/** How sure the numbers are, and what they rest on. */
export function confidenceSection(report: Report): HTMLElement | null {
  const ours = report.summary?.orrery;
  const c = ours?.confidence;
  const warnings = ours?.warnings ?? [];
  const notes = report.manifest?.notes ?? [];
  if (!c && warnings.length + notes.length === 0) return null;
  const lines = [...warnings.map((text) => ['warning', text] as const), ...notes.map((text) => ['note', text] as const)];
  const level = ours?.intervals?.level ?? c?.level;
  return section(
    'confidence',
    'How sure this is',
    c ? `Step times are expected within ${pct(c.step_time_error)} (${pct(level)} intervals, ${ours?.intervals?.method ?? 'first order'}). ${provenanceText(c.time_by_provenance)}.` : null,
    lines.length > 0
      ? card({}, h('h3', {}, 'Warnings and assumptions'), h('ul', { class: 'messages' }, ...lines.map(([kind, text]) => h('li', { class: kind }, h('b', {}, kind), ` ${text}`))))
      : null,
    c
      ? h(
          'div',
          { class: 'pair' },
          card(
            {},
            h('h3', {}, 'Where kernel times come from'),
            provenanceBar(c.time_by_provenance),
            table(
              'Provenance of kernel time',
              ['', 'share', 'meaning'],
              Object.keys(MEANING).map((p) => [h('span', { class: `key ${p}` }, p), pct(c.time_by_provenance[p] ?? 0), MEANING[p] ?? '']),
            ),
            fold(`Sources (${whole(c.sources.length)})`, h('ul', { class: 'sources' }, ...c.sources.map((text) => h('li', {}, text)))),
          ),
          card({}, h('h3', {}, 'Step time by kernel class'), kernelShares(c.time_by_kernel_class)),
        )
      : null,
  );
}

/** What decides a value: the user, the engine's version, the model, or nobody. */
function setByUser(origin: string): boolean {
  return origin !== 'default' && !origin.startsWith('engine ') && !origin.startsWith('config.json of ') && origin !== 'computed from memory';
}

const text = (value: unknown): string => (typeof value === 'string' ? value || '(empty)' : JSON.stringify(value));

export function settingsSection(report: Report): HTMLElement | null {
  const manifest = report.manifest;
  if (!manifest) return null;
  const entries = Object.entries(manifest.config ?? {});
  const command = commandLine(manifest.argv ?? []);
  const row = ([name, { value, origin }]: (typeof entries)[number]): HTMLElement[] => [
    h('code', {}, name),
    h('code', {}, text(value)),
    h('span', { class: setByUser(origin) ? 'chosen' : 'muted' }, origin),
  ];
  const chosen = entries.filter(([, e]) => setByUser(e.origin));
  const decided = entries.filter(([, e]) => !setByUser(e.origin) && e.origin !== 'default');
  const defaults = entries.filter(([, e]) => e.origin === 'default');
  const head = ['setting', 'value', 'origin'];
  const inputs = manifest.inputs ?? [];
  return section(
    'settings',
    'How to run it again',
    null,
    command
      ? card({ class: 'command' }, h('pre', { tabindex: 0 }, h('code', {}, command)), copyButton(command, 'Copy'))
      : null,
    h(
      'div',
      { class: 'pair' },
      card({}, h('h3', {}, 'Chosen'), table('Settings that were chosen', head, chosen.map(row))),
      card({}, h('h3', {}, 'Decided by the engine, the model and the memory'), table('Settings the engine decided', head, decided.map(row))),
    ),
    card({}, fold(`Defaults (${whole(defaults.length)})`, table('Defaults', head, defaults.map(row)))),
    inputs.length > 0
      ? card({}, h('h3', {}, 'Input files'), table('Input files', ['file', 'bytes', 'SHA-256'], inputs.map((f) => [h('code', {}, f.path), whole(f.bytes), h('code', {}, f.sha256 ?? 'not hashed')])))
      : null,
    card(
      {},
      h('h3', {}, 'How to prove it wrong'),
      h('p', {}, 'Measure the same thing on a server of yours and lay the two side by side: save the result of ', h('code', {}, 'vllm bench serve --save-result --save-detailed'), ' and give it to ', h('code', {}, 'orrery validate replay FILE'), ' with the model and GPU. ', h('code', {}, 'orrery rerun DIR'), ` repeats this run${manifest.seed === undefined ? '' : ` (seed ${manifest.seed})`} and says whether the numbers are the same.`),
    ),
  );
}
