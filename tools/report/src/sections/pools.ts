import { type Pool, type Report } from '../data';
import { card, h, section, table } from '../dom';
import { ms, num, pct, plural, si, whole } from '../format';

/** Prefill and decode pools, and the network between them. */
export function poolsSection(report: Report): HTMLElement | null {
  const pools = report.summary?.orrery?.pools;
  if (!pools) return null;
  const row = (name: string, pool: Pool | undefined): string[] => [
    name,
    whole(pool?.replicas),
    whole(pool?.gpus),
    pool?.gpu ?? '',
    pct(pool?.utilisation),
  ];
  const t = pools.transfers;
  const waited = t
    ? h(
        'p',
        { class: 'muted' },
        `${plural(t.count ?? 0, 'KV cache')} moved, ${si(t.bytes ?? 0, 'B')} over a fabric that is ${pools.fabric ?? 'unknown'}. ` +
          `Requests waited ${ms(t.mean_exposed_ms)} for theirs on the mean, ${ms(t.p99_exposed_ms)} at p99; ` +
          `from first to last byte took ${ms(t.mean_ms)}${t.mean_blocked_ms ? `, and ${num(t.mean_blocked_ms)} ms passed for want of blocks` : ''}.`,
      )
    : null;
  const busy = table('Pools', ['pool', 'replicas', 'GPUs', 'device', 'busy'], [row('prefill', pools.prefill), row('decode', pools.decode)]);
  return section('pools', 'Prefill and decode pools', null, card({}, busy, waited));
}
