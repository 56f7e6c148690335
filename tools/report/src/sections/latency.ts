import { limitsOf, METRIC_LABEL, METRIC_TITLE, METRICS, percentilesOf, stat, type Metric, type Report, type Summary } from '../data';
import { cdfChart, type CdfView } from '../charts/cdf';
import { card, choice, csvButton, h, section, table } from '../dom';
import { ms, percentile, whole } from '../format';

function metricTable(summary: Summary): HTMLElement {
  const columns = percentilesOf(summary, 'ttft');
  const rows = METRICS.filter((m) => stat(summary, `mean_${m}_ms`) !== undefined).map((m) => [
    h('abbr', { title: METRIC_TITLE[m] }, METRIC_LABEL[m]),
    ms(stat(summary, `mean_${m}_ms`)),
    ...columns.map((p) => ms(stat(summary, `p${p}_${m}_ms`))),
    ms(summary.orrery?.metrics?.[m]?.max_ms),
    whole(summary.orrery?.metrics?.[m]?.samples),
  ]);
  return table('Latencies', ['', 'mean', ...columns.map(percentile), 'longest', 'samples'], rows);
}

export function latencySection(report: Report): HTMLElement | null {
  const { summary, details } = report;
  const curves = details?.curves;
  if (!summary && !curves) return null;
  const samples = (m: Metric): string => {
    const n = summary?.orrery?.metrics?.[m]?.samples;
    return n === undefined ? '' : `${whole(n)} samples`;
  };
  const shown = METRICS.filter((m) => (curves?.[`${m}_ms`]?.length ?? 0) > 0);
  const grid = h('div', { class: 'cdfs' });
  const draw = (view: CdfView): void => {
    grid.replaceChildren(
      ...shown.map((m) =>
        card(
          {},
          cdfChart(
            {
              title: METRIC_LABEL[m],
              subtitle: `${METRIC_TITLE[m]} \u00b7 ${samples(m)}`,
              percentiles: curves?.percentiles ?? [],
              values: curves?.[`${m}_ms`] ?? [],
              limits: limitsOf(summary?.orrery, m),
            },
            view,
          ),
        ),
      ),
    );
  };
  const views = [
    { value: 'all' as const, label: 'All' },
    { value: 'tail' as const, label: 'Tail' },
  ];
  const tools = h(
    'div',
    { class: 'tools' },
    choice('Percentiles', views, 'all', draw),
    csvButton('latency-percentiles', () => ({
      percentile: curves?.percentiles ?? [],
      ...Object.fromEntries(shown.map((m) => [`${m}_ms`, curves?.[`${m}_ms`] ?? []])),
    })),
  );
  if (shown.length > 0) draw('all');
  return section(
    'latency',
    'Latency',
    shown.length > 0 ? 'Share of samples that take no longer, on a logarithmic axis. Arrow keys walk along a curve.' : null,
    summary ? card({}, metricTable(summary)) : null,
    shown.length > 0 ? tools : null,
    shown.length > 0 ? grid : null,
  );
}
