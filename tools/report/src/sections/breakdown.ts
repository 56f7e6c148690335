import { type Band, type Details, type Report, type WorstRequest } from '../data';
import { PARTS, partLegend, partsText, stackChart, type Part } from '../charts/stack';
import { card, choice, csvButton, fold, h, section, table } from '../dom';
import { ms, percentile, plural, seconds, whole } from '../format';

type Which = 'e2el' | 'ttft';
const WHICH = [
  { value: 'e2el' as const, label: 'E2E' },
  { value: 'ttft' as const, label: 'TTFT' },
];

/** The parts that make up a latency and occur at all. */
function partsOf(which: Which, rows: readonly (Band | WorstRequest)[]): Part[] {
  const until = which === 'ttft' ? 3 : PARTS.length;
  return PARTS.slice(0, until).filter((p) => rows.some((r) => r[p.key] > 0));
}

export function breakdownSection(report: Report): HTMLElement | null {
  const bands = report.details?.bands;
  if (!bands || bands.e2el.length === 0) return null;
  const host = h('div');
  const draw = (which: Which): void => {
    const rows = bands[which];
    const parts = partsOf(which, rows);
    host.replaceChildren(
      partLegend(parts),
      stackChart(
        rows.map((b) => ({
          label: `${percentile(b.from)}\u2013${String(b.to)}`,
          note: plural(b.requests, 'request'),
          parts: b,
          title: `${ms(b.min_ms)} to ${ms(b.max_ms)}: ${partsText(b, parts)}`,
        })),
        parts,
        40,
        'Mean latency by percentile band, and its parts',
      ),
      fold(
        'As a table',
        table(
          'Latency by percentile band',
          ['band', 'requests', 'from', 'to', ...parts.map((p) => p.label)],
          rows.map((b) => [`${percentile(b.from)}\u2013${String(b.to)}`, whole(b.requests), ms(b.min_ms), ms(b.max_ms), ...parts.map((p) => ms(b[p.key]))]),
        ),
      ),
    );
  };
  draw('e2el');
  return section(
    'breakdown',
    'Where the time goes',
    'Requests ranked by latency, in bands: how long those of a band spent, on the mean, in each part of their way.',
    h('div', { class: 'tools' }, choice('Bands of', WHICH, 'e2el', draw)),
    card({}, host),
  );
}

function describe(r: WorstRequest): string {
  const cached = r.cached_tokens > 0 ? `, ${whole(r.cached_tokens)} cached` : '';
  const preempted = r.preemptions > 0 ? `, ${plural(r.preemptions, 'preemption')}` : '';
  return `${whole(r.prompt_tokens)} \u2192 ${whole(r.output_tokens)}${cached}${preempted}`;
}

function worstTable(rows: readonly WorstRequest[], parts: readonly Part[]): HTMLElement {
  return table(
    'The worst requests',
    ['request', 'arrived', 'replica', 'prompt', 'cached', 'output', 'preemptions', ...parts.map((p) => p.label)],
    rows.map((r) => [
      `#${r.id}`,
      seconds(r.arrival_s),
      String(r.replica),
      whole(r.prompt_tokens),
      whole(r.cached_tokens),
      whole(r.output_tokens),
      whole(r.preemptions),
      ...parts.map((p) => ms(r[p.key])),
    ]),
  );
}

export function worstSection(report: Report): HTMLElement | null {
  const worst: Details['worst'] = report.details?.worst;
  if (!worst || worst.e2el.length === 0) return null;
  const host = h('div');
  const draw = (which: Which): void => {
    const rows = worst[which];
    const parts = partsOf(which, rows);
    host.replaceChildren(
      partLegend(parts),
      stackChart(
        rows.map((r) => ({
          label: `#${r.id}`,
          note: describe(r),
          parts: r,
          title: `request ${r.id}, arrived at ${seconds(r.arrival_s)}, replica ${r.replica}: ${describe(r)} tokens; ${partsText(r, parts)}`,
        })),
        parts,
        15,
        'The requests with the longest latency, and where their time went',
      ),
      fold('As a table', worstTable(rows, parts)),
    );
  };
  draw('e2el');
  const columns = (): Record<string, readonly number[]> => {
    const rows = worst.e2el;
    const keys = Object.keys(rows[0] ?? {}) as (keyof WorstRequest)[];
    return Object.fromEntries(keys.map((k) => [k, rows.map((r) => r[k])]));
  };
  return section(
    'worst',
    `The worst ${whole(worst.e2el.length)}`,
    'Each from its arrival on; beside it its prompt and output tokens. All requests stand in requests.csv.',
    h('div', { class: 'tools' }, choice('Worst by', WHICH, 'e2el', draw), csvButton('worst-requests', columns)),
    card({}, host),
  );
}
