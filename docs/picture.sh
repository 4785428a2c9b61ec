#!/usr/bin/env bash
# docs/digest.png: the HTML of the demo's last digest, as a real browser draws it. `make picture` calls this.
#   docs/picture.sh CLAIMWATCH PNG
#   docs/picture.sh --install        the browser alone, if it is missing: for `make test-look`
set -euo pipefail

missing=()
command -v chromium >/dev/null || missing+=(chromium)
command -v pngquant >/dev/null || missing+=(pngquant)
[ -e /usr/share/fonts/truetype/dejavu/DejaVuSerif.ttf ] || missing+=(fonts-dejavu-core)
if [ ${#missing[@]} -gt 0 ]; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "a picture needs: ${missing[*]} (on Debian: sudo apt-get install ${missing[*]})" >&2
        exit 1
    fi
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

[ "$1" != --install ] || exit 0
claimwatch=$1 png=$2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"$claimwatch" demo "$scratch/demo" >/dev/null 2>&1

browse() {
    # A profile of its own for each start; the sandbox can't be had as root.
    timeout 120 chromium --headless --disable-gpu --disable-quic --no-first-run --disable-background-networking \
        --disable-component-update --disable-sync --hide-scrollbars --user-data-dir="$(mktemp -d -p "$scratch")" \
        $([ "$(id -u)" != 0 ] || echo --no-sandbox) "$@" 2>/dev/null
}

# The browser is asked how tall the page is, then draws exactly that.
measured=$scratch/measured.html
cp "$scratch/demo/digest.html" "$measured"
echo '<script>document.title = "height=" + document.documentElement.scrollHeight</script>' >>"$measured"
height=$(browse --window-size=720,100 --dump-dom "file://$measured" | sed -n 's/.*<title>height=\([0-9]*\)<.*/\1/p')
[ -n "$height" ] || { echo "the browser did not say how tall the digest is" >&2; exit 1; }
browse --window-size="720,$height" --force-device-scale-factor=2 --screenshot="$scratch/digest.png" \
    "file://$scratch/demo/digest.html"
# Twelve colours hold a page of text, in a third of the bytes.
pngquant --force --speed 1 --output "$png" 12 "$scratch/digest.png"
echo "$png: 720 x $height, $(stat -c %s "$png") bytes"
