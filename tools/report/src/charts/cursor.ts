/** A position that several charts share: moving it in one moves it in all. */
export class Cursor {
  private readonly listeners: ((at: number | null) => void)[] = [];
  private at: number | null = null;

  get position(): number | null {
    return this.at;
  }

  move(at: number | null): void {
    this.at = at;
    for (const listener of this.listeners) listener(at);
  }

  follow(listener: (at: number | null) => void): void {
    this.listeners.push(listener);
  }
}

/**
 * Lets pointer and keyboard move along the x axis of a chart: arrows by a point (with shift by ten), Home, End, Escape.
 * `toIndex` tells which point is below a pixel of the plot; `onIndex` is told which one is meant.
 */
export function steer(
  svg: SVGSVGElement,
  left: number,
  points: number,
  toIndex: (pixel: number) => number,
  onIndex: (index: number | null) => void,
): void {
  let index = -1;
  const go = (to: number): void => {
    index = Math.min(points - 1, Math.max(0, to));
    onIndex(index);
  };
  svg.setAttribute('tabindex', '0');
  svg.classList.add('steered');
  svg.addEventListener('pointermove', (event) => {
    const box = svg.getBoundingClientRect();
    const scale = (svg.viewBox.baseVal.width || box.width) / box.width;
    go(toIndex((event.clientX - box.left) * scale - left));
  });
  svg.addEventListener('pointerleave', () => onIndex(null));
  svg.addEventListener('blur', () => onIndex(null));
  svg.addEventListener('keydown', (event) => {
    const by = event.shiftKey ? 10 : 1;
    if (event.key === 'ArrowRight') go(index + by);
    else if (event.key === 'ArrowLeft') go(index < 0 ? points - 1 : index - by);
    else if (event.key === 'Home') go(0);
    else if (event.key === 'End') go(points - 1);
    else if (event.key === 'Escape') onIndex(null);
    else return;
    event.preventDefault();
  });
}
