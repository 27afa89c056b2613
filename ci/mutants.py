"""The program of ci/mutants.sh: all mutants in one build, each behind a switch. docs/mutations.md has the results.

Building a mutant takes far longer than running tests on it, so none is built alone. In a copy of the tree a function of which
cargo-mutants lists two mutants becomes

    fn f(…) { match crate::mutant() { 17 => { the body as mutant 17 has it } 18 => { … } _ => { the body } } }

and the environment variable MUTANT says which body runs. `cargo check` finds the mutants that do not compile, which are left out.
"""

import json, os, random, re, selectors, shutil, signal, subprocess, sys, time

WORK = "target/mutants"
TREE, RESULTS = f"{WORK}/tree", f"{WORK}/results.jsonl"
ENV = dict(os.environ, CARGO_TARGET_DIR=os.path.abspath(os.environ.get("CARGO_TARGET_DIR", f"{WORK}/build")))
ENV |= {"CARGO_PROFILE_DEV_DEBUG": "0", "CARGO_INCREMENTAL": "0", "CARGO_MANIFEST_DIR": os.path.abspath(TREE)}
# These tests measure time or the stack, which a function with all its mutants needs more of.
NOT_RUN = ["fork", "idle_cpu", "large_values"]

SWITCH = """
static MUTANT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(u32::MAX);
pub(crate) fn mutant() -> u32 { MUTANT.load(std::sync::atomic::Ordering::Relaxed) }
extern "C" fn choose_mutant() {
    if let Some(id) = std::env::var("MUTANT").ok().and_then(|id| id.parse().ok()) {
        MUTANT.store(id, std::sync::atomic::Ordering::Relaxed);
    }
}
#[used]
#[unsafe(link_section = ".init_array")]
static CHOOSE_MUTANT: extern "C" fn() = choose_mutant;
"""

# --- one tree with all mutants ---


def skip(text, i):
    """The end of the comment, string or character that begins at i; i if none does."""
    if text.startswith("//", i):
        return text.index("\n", i)
    match = re.compile(r'"(\\.|[^"\\])*"|\'(\\.|[^\\\'])\'', re.S).match(text, i)
    return match.end() if match else i


def body_of(text, i):
    """Where the body of the function that begins at i begins."""
    while text[i] != "{":
        i = max(i + 1, skip(text, i))
    return i


def switched(text, mutants, left_out):
    """A file with its mutants behind the switch. Those that cannot have a switch go into left_out."""
    lines = [0]
    for line in text.splitlines(keepends=True):
        lines.append(lines[-1] + len(line))
    place = lambda of, end: lines[of["span"][end]["line"] - 1] + of["span"][end]["column"] - 1
    functions = []
    for m in mutants:
        if m["function"]:
            functions.append((place(m["function"], "start"), -place(m["function"], "end"), m["id"], m))
        else:
            left_out[m["id"]] = "not in a function"
    out, done = [], 0
    functions.sort(key=lambda f: f[:3])
    while functions:
        start, end = functions[0][0], -functions[0][1]
        body = body_of(text, start)
        inside = [m for s, _, _, m in functions if s < end]
        functions = [f for f in functions if f[0] >= end]
        head = re.sub(r"\bconst fn\b", "fn", text[start:body])
        if "-> impl " in head:  # each body has another type
            left_out.update((m["id"], "in a function that cannot switch") for m in inside)
            continue
        out.append(text[done:start] + head + "{ match crate::mutant() {\n")
        for m in (m for m in inside if m["id"] not in left_out):
            first, last = place(m, "start"), place(m, "end")
            out.append(f"/*MUTANT {m['id']}*/ {m['id']} => {text[body:first]}{m['replacement']}{text[last:end]}\n")
        out.append(f"/*MUTANT -1*/ _ => {text[body:end]}\n}}}}")
        done = end
    return "".join(out) + text[done:]


def cargo(*args):
    command = ["cargo", *args, "--message-format=json"]
    run = subprocess.run(command, cwd=TREE, env=ENV, stdout=subprocess.PIPE, text=True)
    return run.returncode, [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]


def do_not_compile():
    """The mutants that the compiler rejects."""
    code, messages = cargo("check", "--quiet", "--all-features", "--lib")
    found = set()
    for message in (m["message"] for m in messages if m["reason"] == "compiler-message"):
        for span in (s for s in message["spans"] if s["is_primary"] and message["level"] == "error"):
            before = open(f"{TREE}/{span['file_name']}").read().splitlines()[: span["line_start"]]
            ids = re.findall(r"/\*MUTANT (-?\d+)\*/", "\n".join(before))
            found.add(int(ids[-1]) if ids else -1)
    if -1 in found or code and not found:
        sys.exit("the tree with the switches does not compile")
    return found


def make_tree(mutants):
    """Returns the mutants that cannot be run, each with the reason."""
    shutil.rmtree(TREE, ignore_errors=True)
    os.makedirs(TREE)
    subprocess.run(f"git ls-files -z | xargs -0 cp --parents -t {TREE}", shell=True, check=True)
    # The tests do not need criterion, which takes longer to build than all the rest, nor the other packages of the workspace.
    manifest = re.sub(r"^criterion = .*\n", "", open("Cargo.toml").read(), flags=re.M)
    manifest = re.sub(r"^members = \[.*?\]\n", "", manifest, flags=re.M | re.S)
    open(f"{TREE}/Cargo.toml", "w").write(re.sub(r"\[\[bench\]\]\n(.+\n)+\n", "", manifest))
    for gone in [f"{TREE}/benches", f"{TREE}/examples", f"{TREE}/tests/random_schedules"]:
        shutil.rmtree(gone)
    for name in NOT_RUN:
        if os.path.exists(f"{TREE}/tests/{name}.rs"):
            os.remove(f"{TREE}/tests/{name}.rs")
    # `run` detects hangs. A test must not fail because the machine is busy.
    support = open("tests/support/mod.rs").read()
    support = support.replace("LIMIT: Duration = Duration::from_secs(60)", "LIMIT: Duration = Duration::from_secs(3600)")
    open(f"{TREE}/tests/support/mod.rs", "w").write(support)
    lib = open("src/lib.rs").read()
    open(f"{TREE}/src/lib.rs", "w").write("#![allow(warnings)]\n" + lib + SWITCH)
    left_out = {}
    while True:
        for file in {m["file"] for m in mutants}:
            text = switched(open(file).read(), [m for m in mutants if m["file"] == file], left_out)
            open(f"{TREE}/{file}", "w").write(text)
        rejected = do_not_compile()
        if not rejected:
            return left_out
        left_out.update((id, "does not compile") for id in rejected)

# --- running tests ---


def process_tree(pid):
    """A process and all its descendants."""
    pids = [pid]
    for pid in pids:
        for task in os.listdir(f"/proc/{pid}/task"):
            pids += map(int, open(f"/proc/{pid}/task/{task}/children").read().split())
    return pids


def usage_of(pid):
    """The processor time that a test has used, in seconds, and whether all its threads sleep."""
    used, sleeps = 0, True
    try:
        for pid in process_tree(pid):
            used += sum(map(int, open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[11:15]))
            for task in os.listdir(f"/proc/{pid}/task"):
                sleeps &= open(f"/proc/{pid}/task/{task}/stat").read().rsplit(")", 1)[1].split()[0] in "SZ"
    except OSError:  # a thread or process has exited meanwhile
        sleeps = False
    return used / os.sysconf("SC_CLK_TCK"), sleeps


def run(program, mutant, most_used, longest_sleep, longest):
    """Runs the tests of a file until the first failure: how that ended, the failed test, time, processor time, and how long all threads slept.

    It hangs when all its threads have slept for too long, and spins when it has used too much processor time. Neither depends on the
    machine's other load."""
    env = ENV | ({} if mutant is None else {"MUTANT": str(mutant)})
    start = awake = time.time()
    child = subprocess.Popen(program, cwd=TREE, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL, start_new_session=True)
    os.set_blocking(child.stdout.fileno(), False)
    output, used, slept, end = b"", 0, 0, None
    while end is None:
        time.sleep(0.02)
        code = child.poll()
        output += child.stdout.read() or b""
        failed = re.search(rb"^test (\S+).* FAILED$", output, re.M)
        if code is not None or failed:
            end = "ok" if code == 0 else "fails"
            break
        before, (used, sleeps) = used, usage_of(child.pid)
        now = time.time()
        if not sleeps or used > before:
            awake = now
        slept = max(slept, now - awake)
        if slept > longest_sleep or now - start > longest:
            end = "hangs"
        elif used > most_used:
            end = "spins"
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except OSError:
        pass
    child.wait()
    child.stdout.close()
    return end, failed and failed[1].decode(), time.time() - start, used, slept


def test_programs():
    chosen = os.environ.get("FORMICARY_MUTANTS_TESTS", "").split()
    which = sum((["--test", name] for name in chosen), []) or ["--tests"]
    code, messages = cargo("test", "--quiet", "--all-features", "--no-run", *which)
    if code:
        sys.exit("the tests do not build")
    found = {}
    for m in messages:
        if m.get("executable") and m["target"]["kind"] == ["test"]:
            name, program = m["target"]["name"], m["executable"]
            if name not in ("suite", "flow", "heap"):
                found[name] = [program]
                continue
            # Each of their files for itself.
            listed = subprocess.run([program, "--list"], stdout=subprocess.PIPE, text=True, check=True).stdout
            for test in re.findall(r"^(.+): test$", listed, re.M):
                file = test.split("::")[0]
                if file not in NOT_RUN:
                    found.setdefault(file, [program, "--exact"]).append(test)
    return found


class Tests:
    """The test files, and how likely each is to notice a mutant."""

    def __init__(self, programs):
        self.programs, self.baseline, self.tried, self.noticed = programs, {}, {}, {}
        for name, program in programs.items():
            runs = [run(program, None, 600, 600, 600) for _ in range(2)]
            if any(end != "ok" for end, *_ in runs):
                sys.exit(f"{name}.rs fails without a mutant: {runs}")
            self.baseline[name] = [max(figure) for figure in list(zip(*runs))[2:]]

    def rank(self, name, file):
        """How likely this test file is to notice a mutant of that source file, for each second that it takes."""
        rate = (self.noticed.get(name, 0) + 0.5) / (self.tried.get(name, 0) + 1)
        here = (self.noticed.get((name, file), 0) + 3 * rate) / (self.tried.get((name, file), 0) + 3)
        return here / (self.baseline[name][1] + self.baseline[name][0] / 4 + 0.1)

    def try_on(self, mutant):
        """How the mutant was noticed, by which file and which test, or "missed"."""
        for name in sorted(self.programs, key=lambda name: -self.rank(name, mutant["file"])):
            took, used, slept = self.baseline[name]
            end, test, *_ = run(self.programs[name], mutant["id"], 3 * used + 2.5, 2 * slept + 2.5, 5 * took + 15)
            for key in (name, (name, mutant["file"])):
                self.tried[key] = self.tried.get(key, 0) + 1
                self.noticed[key] = self.noticed.get(key, 0) + (end != "ok")
            if end != "ok":
                return end, name, test
        return "missed", None, None


def main():
    part, parts = map(int, sys.argv[1].split("/")) if len(sys.argv) > 1 else (0, 1)
    listed = subprocess.run(["cargo", "mutants", "--list", "--json"], stdout=subprocess.PIPE, check=True)
    mutants = [m | {"id": id} for id, m in enumerate(json.loads(listed.stdout))]
    left_out = make_tree(mutants)
    tests = Tests(test_programs())
    # Always the same order, so that the parts do not change.
    random.Random(0).shuffle(mutants)
    ends = {}
    with open(RESULTS, "w") as results:
        for mutant in mutants[part::parts]:
            end, file, test = (left_out[mutant["id"]], None, None) if mutant["id"] in left_out else tests.try_on(mutant)
            ends.setdefault(end, []).append(mutant["name"])
            print(end, "|", mutant["name"], "|", file or "", test or "", flush=True)
            results.write(json.dumps({"mutant": mutant["name"], "end": end, "file": file, "test": test}) + "\n")
    tried = {end: len(names) for end, names in ends.items()}
    print(f"\nof {len(mutants)} mutants {sum(tried.values())} were tried:", tried)
    for end, names in ends.items():
        if end not in ("ok", "fails", "hangs", "spins", "does not compile"):
            print(f"\n{end}:", *sorted(names), sep="\n    ")


main()
