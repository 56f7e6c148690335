import { h } from './dom';

const KEY = 'orrery-theme';
const THEMES = ['auto', 'light', 'dark'] as const;
type Theme = (typeof THEMES)[number];

const system = matchMedia('(prefers-color-scheme: dark)');
let theme = stored();
let printing = false;

function stored(): Theme {
  try {
    const value = localStorage.getItem(KEY);
    return THEMES.find((t) => t === value) ?? 'auto';
  } catch {
    return 'auto'; // some browsers keep nothing for files
  }
}

function apply(): void {
  const dark = !printing && (theme === 'dark' || (theme === 'auto' && system.matches));
  document.documentElement.dataset['theme'] = dark ? 'dark' : 'light';
  document.dispatchEvent(new Event('themechange'));
}

/** Follows the system's colours, or the reader's choice; paper is light. */
export function startTheme(): void {
  system.addEventListener('change', apply);
  for (const [event, on] of [['beforeprint', true], ['afterprint', false]] as const) {
    window.addEventListener(event, () => {
      printing = on;
      apply();
    });
  }
  apply();
}

/** A button that goes from the system's colours to light to dark. */
export function themeButton(): HTMLElement {
  const button = h('button', { type: 'button', class: 'small', id: 'theme' }, `Theme: ${theme}`);
  button.addEventListener('click', () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length] ?? 'auto';
    button.textContent = `Theme: ${theme}`;
    try {
      localStorage.setItem(KEY, theme);
    } catch {
      // shown all the same
    }
    apply();
  });
  return button;
}

/** What is drawn on a canvas has no style sheet: it is drawn again when colours change. */
export function onColours(redraw: () => void): void {
  document.addEventListener('themechange', redraw);
}
