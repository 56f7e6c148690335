import { type Group, type Report } from '../data';
import { card, h, section, table } from '../dom';
import { ms, num, pct, plural, whole } from '../format';

function groupTable(caption: string, first: string, groups: readonly Group[]): HTMLElement {
  const judged = groups.some((g) => g.attainment !== undefined);
  return table(
    caption,
    [first, 'completed', 'failed', 'output tokens', 'TTFT mean', 'TTFT p99', 'TPOT mean', 'TPOT p99', 'slowdown', ...(judged ? ['attainment'] : [])],
    groups.map((g) => [
      String(g.client ?? g.priority ?? ''),
      whole(g.completed),
      whole(g.failed),
      whole(g.output_tokens),
      ms(g.mean_ttft_ms),
      ms(g.p99_ttft_ms),
      ms(g.mean_tpot_ms),
      ms(g.p99_tpot_ms),
      num(g.mean_slowdown),
      ...(judged ? [pct(g.attainment)] : []),
    ]),
  );
}

/** What each priority class and each client was given. */
export function fairnessSection(report: Report): HTMLElement | null {
  const fairness = report.summary?.orrery?.fairness;
  if (!fairness) return null;
  const { classes = [], clients } = fairness;
  const jain = [
    clients?.jain_tokens === undefined ? '' : `of tokens ${num(clients.jain_tokens)}`,
    clients?.jain_slowdown === undefined ? '' : `of slowdowns ${num(clients.jain_slowdown)}`,
  ].filter(Boolean);
  const lead = clients ? `${plural(clients.count, 'client')}${jain.length > 0 ? `; Jain\u2019s index ${jain.join(', ')} (1 is even)` : ''}. ` : '';
  return section(
    'fairness',
    'Who got what',
    `${lead}Slowdown: E2E over what of it was not spent in the queue.`,
    classes.length > 0 ? card({}, h('h3', {}, 'Priorities'), groupTable('Priority classes', 'priority', classes)) : null,
    clients && clients.worst.length > 0 ? card({}, h('h3', {}, 'Clients that waited most'), groupTable('Clients that waited most', 'client', clients.worst)) : null,
  );
}
