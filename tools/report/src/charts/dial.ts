import { s } from '../dom';

const R = 52;

function arc(from: number, to: number, radius: number): string {
  const point = (share: number): string => {
    const angle = Math.PI * (1 - share);
    return `${(70 + radius * Math.cos(angle)).toFixed(2)},${(66 - radius * Math.sin(angle)).toFixed(2)}`;
  };
  return `M${point(from)}A${radius},${radius} 0 0 1 ${point(to)}`;
}

/** A half-circle from nothing to the full scale: what was reached, and where the limit is (both as shares of the scale). */
export function dial(reached: number, limit: number, state: 'pass' | 'fail', label: string): SVGSVGElement {
  const share = Math.min(1, Math.max(0.004, reached));
  return s(
    'svg',
    { viewBox: '0 0 140 76', class: `dial ${state}`, role: 'img', 'aria-label': label },
    s('title', {}, label),
    s('path', { class: 'track', d: arc(0, 1, R) }),
    s('path', { class: 'value', d: arc(0, share, R) }),
    s('path', { class: 'mark', d: arc(limit - 0.004, limit + 0.004, R) }),
  );
}
