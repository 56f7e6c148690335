# Shared by tools/quickstart and tools/test; sourced, never run.

build_packages=(g++ cmake ninja-build pkg-config git python3 libsimgrid-dev libeigen3-dev nlohmann-json3-dev
  libboost-program-options-dev catch2 libfmt-dev zlib1g-dev libzstd-dev libprotozero-dev)
check_packages=(clang libclang-rt-dev clang-format clang-tidy)
# What tests of report.html need, where it is not there from elsewhere; without it they are skipped.
page_packages=()
for program in node:nodejs npm:npm chromium:chromium; do
  command -v "${program%%:*}" >/dev/null || page_packages+=("${program#*:}")
done

say() { printf '\n== %s\n' "$*"; }

# Installs what is missing of the named Debian packages; touches nothing when all are there.
install_packages() {
  local missing=()
  for package in "$@"; do
    dpkg -s "$package" 2>/dev/null | grep -q '^Status: install ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  local root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "error: missing ${missing[*]}; install them as root" >&2; return 4; }
    root=(sudo)
  fi
  say "installing ${missing[*]}"
  "${root[@]}" apt-get update -qq
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# configure PRESET [arguments]: ccache is used where it is installed, never required.
configure() {
  local preset=$1
  shift
  local launcher=()
  command -v ccache >/dev/null && launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
  cmake --preset "$preset" "${launcher[@]}" "$@" >"build/$preset.configure.log" 2>&1 ||
    { cat "build/$preset.configure.log" >&2; return 1; }
}
