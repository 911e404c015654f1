#!/bin/bash
# The report in a browser, as wide as a desk's and as a phone's: no script errors, all plots there and legible, tables that
# sort, nothing wider than the page. CHROMIUM names another browser; SCREENSHOTS a folder for pictures.
. "$(dirname "$0")/../testing.sh"
browser=${CHROMIUM:-chromium}
if ! command -v "$browser" >/dev/null; then
    not_ok "browser: there is one" "no $browser: jobs/setup.sh browser installs it"
    finish
fi

# look NAME PAGE: shows it in frames of both widths.
look() {
    local name=$1 page=$2 folder
    folder=$(mktemp -d "$work/look.XXXXXX")
    "$python" - "$page" "$here/browser/inspect.js" "$folder" <<'END'
import sys
page, script, folder = sys.argv[1:]
text = open(page, encoding="utf-8").read()
before = ("<script>var seen=[];addEventListener('error',function(e){seen.push('script: '+e.message)});"
          "addEventListener('securitypolicyviolation',function(e){seen.push('blocked: '+e.violatedDirective)});</script>")
text = text.replace("<head>", "<head>" + before, 1)
text = text.replace("</body>", "<script>" + open(script).read() + "</script></body>", 1)
open(folder + "/page.html", "w", encoding="utf-8").write(text)
open(folder + "/frames.html", "w").write(
    "<body style='margin:0'><pre id=said></pre><script>addEventListener('message',function(e){"
    "document.getElementById('said').textContent+=e.data+'\\n'})</script>"
    + "".join("<iframe src=page.html style='border:0;width:%dpx;height:900px'></iframe>" % w for w in (1280, 390)))
END
    timeout 120 "$browser" --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --user-data-dir="$folder/profile" \
        --allow-file-access-from-files --window-size=1800,1000 --virtual-time-budget=60000 --dump-dom \
        "file://$folder/frames.html" >"$folder/dom" 2>"$folder/err"
    "$python" - "$name" "$folder/dom" <<'END' || failures=$((failures + 1))
import html, json, re, sys
name, dom = sys.argv[1:]
said = re.search(r'<pre id="said">(.*?)</pre>', open(dom, encoding="utf-8").read(), re.S)
looks = {l["width"]: l for l in map(json.loads, html.unescape(said.group(1)).split("\n")[:-1])} if said else {}
bad = 0
for width in (1280, 390):
    look = next((l for w, l in looks.items() if abs(w - width) < 20), None)
    wrong = ["the page said nothing"] if look is None else look["wrong"]
    if not wrong and (look["plots"] < 1 or look["sorts"] < 20):
        wrong = ["%d plots, %d sorts" % (look["plots"], look["sorts"])]
    if wrong:
        print("not ok browser: %s at %d pixels: %s" % (name, width, "; ".join(wrong[:8])))
        bad = 1
    else:
        print("ok browser: %s at %d pixels, %d plots, %d sorts" % (name, width, look["plots"], look["sorts"]))
sys.exit(bad)
END
    if [ -n "${SCREENSHOTS:-}" ]; then
        mkdir -p "$SCREENSHOTS"
        "$browser" --headless=new --no-sandbox --disable-gpu --user-data-dir="$folder/profile" --hide-scrollbars \
            --window-size=1280,6000 --screenshot="$SCREENSHOTS/$name-1280.png" "file://$page" >/dev/null 2>&1
        sed 's/width:1280px/width:0/; s/height:900px/height:12000px/g' "$folder/frames.html" >"$folder/phone.html"
        "$browser" --headless=new --no-sandbox --disable-gpu --user-data-dir="$folder/profile" --hide-scrollbars \
            --allow-file-access-from-files --window-size=520,12000 --virtual-time-budget=60000 --screenshot="$SCREENSHOTS/$name-390.png" "file://$folder/phone.html" >/dev/null 2>&1
    fi
}

# A run that has something for every section.
cat >"$work/all.cfg" <<'END'
net = { arch = "mlp"; classes = 10; width = 16; };
data = { kind = "shapes"; train_limit = 64; test_limit = 32; };
train = { lr = 0.05; batch = 32; };
search = { methods = ("lrr", "aws"); alpha = ((0.0, 1.0), (0.5, 1.0)); warmup_epochs = 1; rounds = 2; round_epochs = 2;
           prune_fraction = 0.5; };
transfer = { modes = ("signed", "mask", "random_signs", "magnitude", "retrain", "dense"); seeds = (2, 3); rounds = (1, 2);
             epochs = 2; noise_orders = 1; };
connect = { points = 3; pairs = ("signed-search", "signed-signed", "signed-retrain", "sgd-noise", "norm-reinit"); };
END
sg 2 run "$work/all.cfg" --out "$work/all"
expect_code "browser: a run for every section" 0
look all "$work/all/report/index.html"
for page in "$here"/../docs/results/*/report/index.html; do
    if [ -e "$page" ]; then look "$(basename "${page%/report/index.html}")" "$(realpath "$page")"; fi
done
finish
