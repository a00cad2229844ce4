"""One full path for each of the other commands, on tiny models."""
import json
import math

import pytest
import wide_model
from conftest import MODELS, fails, succeeds

LLAMA = MODELS / "llama" / "model.gguf"
FOLDERS = sorted(path.parent for path in MODELS.glob("*/golden.json"))
ALL = [folder / name for folder in FOLDERS for name in json.loads((folder / "golden.json").read_text())["models"]]
TEXT = "The bird flies high over the land and they turn in the summer. " * 40


def as_json(*args, **more):
    done = succeeds(*args, "--json", **more)
    assert done.stderr == ""
    return json.loads(done.stdout)


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


def model_id(path):
    return f"{path.parent.name}-{path.name}"


# ---- inspect ----

@pytest.mark.parametrize("path", ALL, ids=model_id)
def test_inspect(path):
    report = as_json("inspect", path)
    golden = json.loads((path.parent / "golden.json").read_text())
    assert {"family", "file_bytes", "parameters", "bits_per_weight", "ternary_bits_per_weight"} <= set(report)
    names = {"bitnet": "bitnet-b1.58", "mistral": "llama"}
    family = names.get(golden["family"], golden["family"])
    assert report["family"] in (family, golden["family"])
    assert report["parameters"] > 1000 and report["file_bytes"] > 1000
    assert 1 < report["bits_per_weight"] < 40
    for options in [], ["--tensors"]:
        shown = succeeds("inspect", path, *options).stdout
        assert report["family"] in shown and "bits/weight" in shown
    names = [tensor["name"] for tensor in report["tensors"]]
    assert names and all(name in shown for name in names)


# ---- tokenize ----

def test_tokenize_and_back(tmp_path):
    shown = succeeds("tokenize", LLAMA, "they summ, bird").stdout
    report = as_json("tokenize", LLAMA, "they summ, bird")
    assert [int(word) for word in shown.split()] == report["ids"] and report["count"] == len(report["ids"])
    assert succeeds("tokenize", LLAMA, "--decode", shown.strip()).stdout == "they summ, bird"
    assert succeeds("tokenize", LLAMA, "--decode", ",".join(shown.split())).stdout == "they summ, bird"
    assert succeeds("tokenize", LLAMA, "--decode", *shown.split()).stdout == "they summ, bird"
    assert succeeds("tokenize", LLAMA, "--decode", "-", input=json.dumps(report["ids"])).stdout == "they summ, bird"
    assert as_json("tokenize", LLAMA, "--decode", shown)["text"] == "they summ, bird"
    file = tmp_path / "text"
    file.write_text("they summ, bird")
    assert as_json("tokenize", LLAMA, "--file", file) == report
    assert as_json("tokenize", LLAMA, input="they summ, bird") == report
    assert as_json("tokenize", MODELS / "llama" / "hf" / "tokenizer.json", "they summ, bird") == report
    assert as_json("tokenize", MODELS / "llama" / "hf", "they summ, bird") == report


def test_special_tokens_only_when_asked():
    plain = as_json("tokenize", LLAMA, "<|im_end|>")["ids"]
    special = as_json("tokenize", LLAMA, "<|im_end|>", "--special")["ids"]
    assert len(special) == 1 and len(plain) > 1
    assert as_json("tokenize", LLAMA, "")["ids"] == []


def test_any_bytes_survive(tmp_path):
    file = tmp_path / "bytes"
    file.write_bytes("ü€𝄞 \t\r\n\0 x".encode())
    ids = as_json("tokenize", LLAMA, "--file", file)["ids"]
    assert succeeds("tokenize", LLAMA, "--decode", str(ids), binary=True).stdout == file.read_bytes()
    assert as_json("tokenize", LLAMA, "--decode", str(ids))["text"] == file.read_bytes().decode()


# ---- template ----

CHAT = [{"role": "user", "content": "Grüße, \"bird\"\n"}, {"role": "assistant", "content": "Hi"}]


def render(messages, tmp_path, *more):
    path = tmp_path / "messages.json"
    path.write_text(json.dumps(messages))
    return succeeds("template", LLAMA, "--messages", path, *more).stdout


def test_template_prints_the_prompt_and_nothing_else(tmp_path):
    turns = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in CHAT)
    assert render(CHAT, tmp_path, "--no-generation-prompt") == turns
    assert render(CHAT, tmp_path) == turns + "<|im_start|>assistant\n"
    assert succeeds("template", LLAMA, "-m", "-", input=json.dumps(CHAT)).stdout == turns + "<|im_start|>assistant\n"


def test_template_files_tools_and_variables(tmp_path):
    (tmp_path / "t.jinja").write_text("{{ messages[0].content }}|{{ tools | tojson }}|{{ flag }}|{{ n + 1 }}|{{ s }}")
    (tmp_path / "m.json").write_text('[{"role": "user", "content": "hi"}]')
    (tmp_path / "tools.json").write_text('[{"name": "f"}]')
    done = succeeds("template", tmp_path / "t.jinja", "-m", tmp_path / "m.json", "--tools", tmp_path / "tools.json",
                    "--set", "flag=false", "--set", "n=41", "--set", "s=plain=text")
    assert done.stdout == 'hi|[{"name": "f"}]|False|42|plain=text'


@pytest.mark.parametrize("messages", ["", "{", "[1", '{"role": "user"}', "null"])
def test_messages_that_are_none(messages):
    fails(1, "template", LLAMA, "-m", "-", input=messages)


def test_templates_that_fail(tmp_path):
    for source in ["{% if %}", "{{ raise_exception('no such role') }}", "{% for i in range(10**9) %}x{% endfor %}"]:
        (tmp_path / "t.jinja").write_text(source)
        done = fails(1, "template", tmp_path / "t.jinja", "-m", "-", input="[]")
        assert "raise" not in source or "no such role" in done


# ---- eval ----

def test_eval_perplexity(text):
    report = as_json("eval", LLAMA, "--text", text, "--context", 64)
    assert {"perplexity", "nll", "tokens", "context"} <= set(report)
    assert report["context"] == 64 and report["tokens"] > 100
    assert math.isclose(report["perplexity"], math.exp(report["nll"]), rel_tol=1e-6)
    shown = succeeds("eval", LLAMA, "--text", text, "--context", 64).stdout
    assert f"perplexity  {report['perplexity']:.4f}" in shown
    assert as_json("eval", LLAMA, "--text", "-", "--context", 64, input=TEXT)["perplexity"] == report["perplexity"]


def test_eval_options(text):
    whole = as_json("eval", LLAMA, "--text", text, "--context", 64)
    assert as_json("eval", LLAMA, "--text", text, "--context", 64, "--limit", 2)["windows"] == 2
    assert as_json("eval", LLAMA, "--text", text, "--context", 64, "--bytes", 700)["tokens"] < whole["tokens"]
    assert as_json("eval", LLAMA, "--text", text, "--context", 64, "--stride", 16)["tokens"] > whole["tokens"]


def test_eval_divergence(text):
    same = as_json("eval", LLAMA, "--text", text, "--context", 64, "--kl-against", LLAMA)
    assert abs(same["kl"]) < 1e-6 and same["agreement"] == 1
    other = as_json("eval", LLAMA, "--text", text, "--context", 64, "--kl-against",
                    MODELS / "qwen2" / "model.gguf")
    assert other["kl"] > 0.01 and other["agreement"] < 1
    assert "agreement" in succeeds("eval", LLAMA, "--text", text, "--context", 64, "--kl-against", LLAMA).stdout


def test_eval_tasks(tmp_path):
    choices = tmp_path / "choices.jsonl"
    choices.write_text("".join(json.dumps({"query": f"The bird {i}", "choices": ["flies", "sings", "turns"], "gold": i % 3}) +
                               "\n" for i in range(9)))
    report = as_json("eval", LLAMA, "--tasks", choices)
    assert report["tasks"] == 9 and 0 <= report["accuracy"] <= 1 and report["standard_error"] > 0
    assert as_json("eval", LLAMA, "--tasks", choices, "--limit", 4)["tasks"] == 4
    assert "accuracy" in succeeds("eval", LLAMA, "--tasks", choices).stdout
    lambada = tmp_path / "lambada.jsonl"
    lambada.write_text(json.dumps({"context": "The bird flies high over the", "continuation": "land"}) + "\n")
    assert as_json("eval", LLAMA, "--tasks", lambada)["perplexity"] > 1
    choices.write_text('{"query": "x"}\n')
    fails(1, "eval", LLAMA, "--tasks", choices)


def test_eval_of_too_short_a_text(tmp_path):
    (tmp_path / "short").write_text("bird")
    fails(1, "eval", LLAMA, "--text", tmp_path / "short")


# ---- bench ----

BENCH_MEMBERS = {"model", "family", "threads", "cpu", "level", "load_s", "load_gb_s", "first_token_s", "resident_bytes",
                 "cache_bytes", "rss_bytes", "read_gb_s", "int8_gop_s", "prefill", "decode"}
PREFILL_MEMBERS = {"tokens", "tok_per_s", "slowest", "fastest", "gop_per_s", "peak_percent", "matmul_percent",
                   "attention_percent"}
DECODE_MEMBERS = {"context", "sequences", "tokens", "tok_per_s", "slowest", "fastest", "bytes_per_token", "gb_per_s",
                  "read_percent", "matmul_percent", "attention_percent"}


def test_bench():
    args = ["bench", LLAMA, "--prefill", "8,16", "--context", "0,16", "--tokens", 4, "--repeat", 1, "--batch", 2]
    report = as_json(*args)
    assert set(report) == BENCH_MEMBERS
    assert all(set(row) == PREFILL_MEMBERS for row in report["prefill"])
    assert all(set(row) == DECODE_MEMBERS for row in report["decode"])
    assert [(row["tokens"], row["tok_per_s"] > 0) for row in report["prefill"]] == [(8, True), (16, True)]
    decode = [(row["context"], row["sequences"], row["tokens"]) for row in report["decode"]]
    assert decode == [(0, 1, 4), (16, 1, 4), (0, 2, 4)]
    for row in report["decode"]:
        assert row["slowest"] <= row["tok_per_s"] <= row["fastest"]
        assert row["gb_per_s"] == pytest.approx(row["tok_per_s"] * row["bytes_per_token"] * 1e-9)
        assert row["read_percent"] == pytest.approx(100 * row["gb_per_s"] / report["read_gb_s"])
    shown = succeeds(*args).stdout
    assert all(word in shown for word in ("tokens/s", "bytes/token", "% of memory read", "% of int8 peak"))


def test_bench_of_a_smaller_cache():
    sizes = {kv: as_json("bench", LLAMA, "--prefill", 8, "--context", 16, "--tokens", 2, "--repeat", 1, "--kv", kv)
             for kv in ("f32", "f16", "q8")}
    per_value = {"f32": 4, "f16": 2, "q8": 1 + 2 / 32}
    for kv, report in sizes.items():
        assert report["cache_bytes"] * 2 == pytest.approx(sizes["f16"]["cache_bytes"] * per_value[kv])
    assert sizes["q8"]["decode"][0]["bytes_per_token"] < sizes["f16"]["decode"][0]["bytes_per_token"]


def test_bench_chooses_contexts():
    """Where none is named: the usual ones that the model was trained for; the others are told."""
    report = as_json("bench", "--shape", "tiny", "--prefill", 8, "--tokens", 2, "--repeat", 1)
    assert [row["context"] for row in report["decode"]] == [0]
    assert report["contexts_left_out"] == [512, 4096, 16384]


def test_bench_of_a_shape():
    shapes = as_json("bench", "--shape", "list")["shapes"]
    assert {"tiny", "bitnet-2b4t", "llama3-8b", "qwen3-1.7b", "bonsai-8b"} <= {shape["name"] for shape in shapes}
    assert "bitnet-2b4t" in succeeds("bench", "--shape", "list").stdout
    report = as_json("bench", "--shape", "tiny", "--type", "Q2_0", "--head", "F16", "--prefill", 8, "--context", 0,
                     "--tokens", 2, "--repeat", 1)
    assert report["model"] == "shape tiny, random Q2_0, head F16" and report["decode"][0]["tok_per_s"] > 0
    assert "tiny, bitnet" in fails(1, "bench", "--shape", "gigantic")
    assert "one of the two" in fails(2, "bench")
    assert "one of the two" in fails(2, "bench", LLAMA, "--shape", "tiny")
    assert "--shape" in fails(2, "bench", LLAMA, "--type", "TQ2_0")


# ---- convert ----

@pytest.mark.parametrize("path", ALL, ids=model_id)
def test_convert_round_trip(path, tmp_path):
    """To GGUF and once more gives the same file, and the same answer as before."""
    if path.parent.name == "llama-rope-dynamic":
        assert "dynamic rotary scaling" in fails(1, "convert", path, tmp_path / "out.gguf")
        return
    once, twice = tmp_path / "once.gguf", tmp_path / "twice.gguf"
    succeeds("convert", path, once)
    succeeds("convert", once, twice)
    assert once.read_bytes() == twice.read_bytes()
    ask = ["--raw", "-p", "they summ", "--temp", 0, "-n", 16, "--ignore-eos", "--json"]
    assert json.loads(succeeds("run", once, *ask).stdout)["text"] == json.loads(succeeds("run", path, *ask).stdout)["text"]


def test_convert_types_and_report(tmp_path, wide):
    out = tmp_path / "small.gguf"
    report = as_json("convert", wide, out, "--float-type", "Q8_0")
    assert isinstance(report, dict)
    assert out.stat().st_size < 0.6 * wide.stat().st_size
    assert succeeds("convert", wide, tmp_path / "again.gguf", "--float-type", "Q8_0", "--quiet").stdout == ""
    assert (tmp_path / "again.gguf").read_bytes() == out.read_bytes()


def test_convert_between_ternary_layouts_is_exact(tmp_path, wide):
    a, b, c = tmp_path / "a.gguf", tmp_path / "b.gguf", tmp_path / "c.gguf"
    succeeds("quantize", wide, a, "--method", "itf", "--type", "TQ2_0", "--no-eval")
    succeeds("convert", a, b, "--type", "TQ1_0")
    succeeds("convert", b, c, "--type", "TQ2_0")
    assert a.read_bytes() == c.read_bytes() != b.read_bytes()
    types = {tensor["type"] for tensor in as_json("inspect", b)["tensors"]}
    assert "TQ1_0" in types and "TQ2_0" not in types


def test_convert_to_the_native_form_and_back(tmp_path, wide):
    a, b, c, d = (tmp_path / f"{name}.gguf" for name in "abcd")
    succeeds("quantize", wide, a, "--method", "itf", "--type", "TQ2_0", "--no-eval")
    succeeds("convert", a, b, "--type", "native")
    succeeds("convert", b, c, "--type", "TQ2_0")
    assert a.read_bytes() == c.read_bytes()
    succeeds("convert", b, d)
    assert b.read_bytes() == d.read_bytes()
    before, after = as_json("inspect", a), as_json("inspect", b)
    assert after["ternary_bits_per_weight"] < 1.7 < 2 < before["ternary_bits_per_weight"]
    assert [t["type"] for t in after["tensors"]].count("NATIVE") == 7
    ask = ["-p", "they", "-n", 8, "--ignore-eos", "--temp", 0]
    assert as_json("run", a, *ask)["text"] == as_json("run", b, *ask)["text"]
    succeeds("quantize", wide, b, "--method", "itf", "--group", "96", "--no-eval")
    assert "groups of at most" in fails(1, "convert", b, c, "--type", "TQ2_0")


def test_groups_that_a_layout_cannot_hold(tmp_path, wide):
    said = fails(1, "quantize", wide, tmp_path / "a.gguf", "--method", "itf", "--type", "Q2_0", "--group", "96")
    assert "multiple of 64" in said and "native" in said


def test_convert_to_nowhere(tmp_path):
    fails(1, "convert", LLAMA, tmp_path / "absent" / "out.gguf")
    assert list(tmp_path.iterdir()) == []


# ---- quantize ----

@pytest.mark.parametrize("options", [["--tokens", "1k", "--threads", "1", "--tune", "8k"],
                                     ["--tokens", "512", "--portable", "--group", "256", "--tune", "0", "--threads", "1"], ["--method", "absmean", "--group", "tensor", "--type", "TQ1_0"],
                                     ["--method", "itf", "--group", "row", "--keep-type", "F16", "--type", "Q2_0"],
                                     ["--method", "itf", "--group", "96"], ["--method", "itf", "--group", "100"],
                                     ["--method", "absmean", "--group", "tensor"],
                                     ["--method", "twn", "--type", "TQ2_0"]])
def test_quantize(options, tmp_path, text, wide):
    out = tmp_path / "ternary.gguf"
    receipt = as_json("quantize", wide, out, "--no-eval", *options)
    kinds = {"NATIVE", "TQ1_0", "TQ2_0", "Q2_0", "PQ2_0", "PTQ1_0"}
    errors = [tensor["relative_error"] for tensor in receipt["tensors"] if tensor["to"] in kinds]
    assert len(errors) == 7 and all(0 < error < 1 for error in errors)
    report = as_json("inspect", out)
    assert 1 < report["ternary_bits_per_weight"] < 3
    assert report["bits_per_weight"] > report["ternary_bits_per_weight"]
    assert as_json("eval", out, "--text", text, "--context", 64)["perplexity"] > 1
    assert as_json("run", out, "-p", "the", "-n", 4, "--ignore-eos")["tokens"] == 4
    assert as_json("verify", out)["checks"]


def tensors_of(receipt):
    return {tensor["name"]: tensor for tensor in receipt["tensors"]}


def test_quantize_keeps_what_it_is_told(tmp_path, wide):
    kept = as_json("quantize", wide, tmp_path / "a.gguf", "--method", "itf", "--keep", "embed,head,blk.?.attn*,*ffn_up*",
                   "--keep-type", "F16", "--no-eval")
    types = {name: tensor["to"] for name, tensor in tensors_of(kept).items() if len(tensor["shape"]) > 1}
    for name, type in types.items():
        assert (type == "F16") == ("embd" in name or name == "output.weight" or "attn" in name or "ffn_up" in name), name
    nothing = as_json("quantize", wide, tmp_path / "b.gguf", "--method", "itf", "--keep", "", "--no-eval")
    assert tensors_of(nothing)["token_embd.weight"]["to"] == "NATIVE"


def test_quantize_leaves_tables_as_they_are(tmp_path, wide):
    """Floats become Q8_0 unless told otherwise; what is quantised stays as it is."""
    half, small, again = tmp_path / "half.gguf", tmp_path / "small.gguf", tmp_path / "again.gguf"
    tables = ["token_embd.weight", "output.weight"]
    for options, type in [([], "Q8_0"), (["--keep-type", "source"], "F16"), (["--keep-type", "F16"], "F16")]:
        receipt = as_json("quantize", wide, half, "--method", "itf", "--no-eval", *options)
        assert [tensors_of(receipt)[name]["to"] for name in tables] == [type, type]
    succeeds("convert", wide, small, "--float-type", "Q8_0", "--quiet")
    auto = as_json("quantize", small, again, "--method", "itf", "--no-eval")
    assert auto["recipe"]["options"]["keep_type"] == "auto"
    assert [tensors_of(auto)[name]["to"] for name in tables] == ["Q8_0", "Q8_0"]
    assert not any("relative_error" in tensors_of(auto)[name] for name in tables)
    larger = as_json("quantize", small, again, "--method", "itf", "--no-eval", "--keep-type", "F16")
    assert larger["bytes"]["kept_bytes"] > 1.8 * auto["bytes"]["kept_bytes"]
    assert [tensors_of(larger)[name]["to"] for name in tables] == ["F16", "F16"]
    folder = as_json("quantize", MODELS / "llama" / "hf", tmp_path / "folder", "--method", "itf", "--group", 32,
                     "--keep-type", "source", "--no-eval")
    table = tensors_of(folder)["model.embed_tokens.weight"]
    assert table["from"] == table["to"]


@pytest.mark.parametrize("model, folded", [("llama-tied-bias", ["gains", "residual", "heads"]),
                                           ("gemma2", ["gains", "heads"])])
def test_quantize_folds_what_leaves_no_trace(tmp_path, model, folded):
    source, out = MODELS / model / "hf", tmp_path / "out.gguf"
    options = ["--tokens", 512, "--tune", 0, "--no-eval"]
    receipt = as_json("quantize", source, out, *options, "--portable")
    assert receipt["settings"]["folded"] == folded and receipt["settings"]["transform"] is False
    tensors = tensors_of(receipt)
    assert ("output.weight" in tensors) == ("residual" in folded)
    assert {tensor["from"] for tensor in tensors.values()} == {"BF16"}
    assert b"hadamard" not in out.read_bytes()
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"out.gguf", "out.gguf.receipt.json", "out.gguf.receipt.html"}
    ask = ["-p", "they", "-n", 8, "--ignore-eos", "--temp", 0]
    assert as_json("run", out, *ask)["tokens"] == 8
    for other in [[], ["--portable", "--keep-type", "source"]]:
        unfolded = as_json("quantize", source, out, *options, *other)
        assert unfolded["settings"]["folded"] == [] and "output.weight" not in tensors_of(unfolded)


def test_quantize_with_more_than_trits(tmp_path, wide):
    quick = ["--tokens", 512, "--tune", 0, "--no-eval"]
    plain = as_json("quantize", wide, tmp_path / "a.gguf", *quick)
    for option, least, most in [("--asymmetric", 0.05, 0.3), ("--outliers=2%", 0.05, 0.5)]:
        receipt = as_json("quantize", wide, tmp_path / "b.gguf", *quick, *option.split("="))
        assert least < receipt["ternary_bits_per_weight"] - plain["ternary_bits_per_weight"] < most
        assert receipt["relative_error"] < plain["relative_error"]
    for group in [1, 7, "row"]:
        alone = as_json("quantize", wide, tmp_path / "e.gguf", "--method", "itf", "--asymmetric", "--group", group, "--no-eval")
        assert alone["relative_error"] < (0.01 if group == 1 else 0.25)
    columns = as_json("quantize", wide, tmp_path / "c.gguf", *quick, "--stages", "columns")
    assert columns["relative_error"] > plain["relative_error"]
    pt2 = as_json("quantize", wide, tmp_path / "d.gguf", *quick, "--method", "pt2")
    assert {tensor["to"] for name, tensor in tensors_of(pt2).items() if "blk" in name and len(tensor["shape"]) > 1} == {"F16"}


def test_massive_activations_do_not_drown_the_others(tmp_path, text):
    model = tmp_path / "massive.gguf"
    wide_model.write(model, vocabulary_of=LLAMA, massive=1)
    divergence = []
    for number, stages in enumerate(["balance,order,columns,refit,descent", "order,columns,refit,descent"]):
        out = tmp_path / f"{number}.gguf"
        succeeds("quantize", model, out, "--tokens", "4k", "--tune", 0, "--calib", text, "--stages", stages,
                 "--keep", "embed,head,*attn*,*gate*,*up*", "--no-eval")
        divergence.append(as_json("eval", out, "--kl-against", model, "--text", text, "--context", 64)["kl"])
    assert divergence[0] < 0.8 * divergence[1]


@pytest.mark.parametrize("options", [["--tokens", 512, "--bits", 3, "--damping", 0.03, "--drift", 0.3, "--outliers", "1%", "--tune", "4k"],
                                     ["--tokens", 512, "--asymmetric", "--group", 128, "--residual", 0, "--portable", "--tune", 0],
                                     ["--method", "itf", "--keep", "embed,head,*attn*"]])
def test_quantize_by_recipe(options, tmp_path, text, wide):
    once, again = tmp_path / "once.gguf", tmp_path / "again.gguf"
    receipt = as_json("quantize", wide, once, "--no-eval", *options)
    (tmp_path / "receipt.json").write_text(json.dumps(receipt))
    repeated = as_json("quantize", wide, again, "--no-eval", "--recipe", tmp_path / "receipt.json")
    assert once.read_bytes() == again.read_bytes()
    assert repeated["recipe"] == receipt["recipe"]
    assert as_json("eval", once, "--text", text, "--context", 64)["perplexity"] > 1
    assert as_json("verify", once)["checks"]
    if "--bits" in options:
        assert 2.7 < receipt["matrix_bits_per_weight"] <= 3
        assert any(tensor.get("sensitivity", 0) > 0 for tensor in receipt["tensors"])
        assert sum(tensor.get("error_share", 0) for tensor in receipt["tensors"]) == pytest.approx(1, abs=1e-3)
        assert any(entry.get("second") or entry["type"] != "NATIVE" for entry in receipt["recipe"]["tensors"].values())
    (tmp_path / "bare.json").write_text(json.dumps(receipt["recipe"]))
    succeeds("quantize", wide, again, "--recipe", tmp_path / "bare.json", "--quiet", "--no-eval")
    assert once.read_bytes() == again.read_bytes()


def test_quantize_spends_the_usual_bits_where_they_matter(tmp_path):
    model = tmp_path / "deep.gguf"
    wide_model.write(model, vocabulary_of=LLAMA, layers=5)
    options = ["--tokens", "512", "--tune", "0", "--no-eval"]
    usual = as_json("quantize", model, tmp_path / "usual.gguf", *options)
    plain = as_json("quantize", model, tmp_path / "plain.gguf", *options, "--group", "128")
    entries = usual["recipe"]["tensors"].values()
    assert 0 < sum(entry.get("second", False) or entry["type"] != "NATIVE" for entry in entries) < len(entries) / 2
    assert usual["matrix_bits_per_weight"] <= 1.75
    assert "matrix_bits_per_weight" not in plain and not any("sensitivity" in tensor for tensor in plain["tensors"])
    assert not any(entry.get("second") for entry in plain["recipe"]["tensors"].values())


@pytest.mark.parametrize("recipe, word", [("[]", "recipe"), ("{", "recipe"), ('{"recipe": 2}', "version 1"), ('{"recipe": 1}', "options"),
                                          ('{"recipe": 1, "options": {}, "tensors": {}}', "another model"),
                                          ('{"recipe": 1, "options": {"tokens": -1}}', "out of range"),
                                          ('{"recipe": 1, "options": {"method": "magic"}}', "magic")])
def test_quantize_refuses_bad_recipes(recipe, word, tmp_path, wide):
    path = tmp_path / "recipe.json"
    path.write_text(recipe)
    assert word in fails(1, "quantize", wide, tmp_path / "a.gguf", "--recipe", path)
    assert list(tmp_path.iterdir()) == [path]


def test_quantize_refuses_what_makes_no_sense(tmp_path, wide):
    for options, word in [(["--method", "itf", "--stages", "order"], "calibration"), (["--stages", "all"], "stage 'all'"),
                          (["--method", "absmean", "--asymmetric"], "shift"), (["--method", "pt2", "--outliers", "1%"], "outliers")]:
        assert word in fails(1, "quantize", wide, tmp_path / "a.gguf", *options)
    fails(2, "quantize", wide, tmp_path / "a.gguf", "--outliers", "1%x")
    assert list(tmp_path.iterdir()) == []


def test_quantize_tunes(tmp_path, wide, text):
    out, other = tmp_path / "tuned.gguf", tmp_path / "plain.gguf"
    receipt = as_json("quantize", wide, out, "--tokens", "4k", "--group", "128", "--type", "Q2_0", "--tune", "16k",
                      "--calib", text, "--no-eval")
    tuning = receipt["tuning"]
    assert tuning["tokens"] == 16384 and tuning["kept"] is True and tuning["kl_after"] < tuning["kl_before"]
    plain = as_json("quantize", wide, other, "--tokens", "4k", "--group", "128", "--type", "Q2_0", "--tune", "0",
                    "--calib", text, "--no-eval")
    assert "tuning" not in plain
    more, less = receipt["predicted"], plain["predicted"]
    assert more["time_s"] > 0 and more["peak_bytes"] > less["peak_bytes"] > 50e6
    kl = [as_json("eval", path, "--kl-against", wide, "--text", text, "--context", 64)["kl"] for path in (out, other)]
    assert kl[0] < kl[1]


def test_quantize_shows_the_receipt(tmp_path, wide):
    shown = succeeds("quantize", wide, tmp_path / "a.gguf", "--method", "itf", "--no-eval").stdout
    assert "blk.0.attn_q.weight" not in shown and "relative error" in shown
    assert "blk.0.attn_q.weight" in succeeds("quantize", wide, tmp_path / "c.gguf", "--method", "itf", "--no-eval", "--tensors").stdout
    assert succeeds("quantize", wide, tmp_path / "b.gguf", "--method", "itf", "--no-eval", "--quiet").stdout == ""
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()


def test_quantize_leaves_a_receipt(tmp_path, wide, text):
    out = tmp_path / "a.gguf"
    shown = succeeds("quantize", wide, out, "--method", "itf", "--eval", text, "--threads", "1").stdout
    assert "evaluation:" in shown
    receipt = json.loads((tmp_path / "a.gguf.receipt.json").read_text())
    assert [one["text"] for one in receipt["evaluation"]] == [text.name]
    assert receipt["evaluation"][0]["before"] > 1 and receipt["evaluation"][0]["kl"] > 0
    assert sum(receipt["bytes"].values()) == out.stat().st_size == receipt["output_bytes"]
    assert abs(receipt["minus"] + receipt["zeros"] + receipt["plus"] - 1) < 1e-4
    page = (tmp_path / "a.gguf.receipt.html").read_text()
    assert page.startswith("<!DOCTYPE html>") and page.count("<svg") == page.count("</svg>") >= 5
    assert "<script" not in page and "http" not in page and "blk.0.attn_q.weight" in page
    assert as_json("inspect", out)["receipt"]["evaluation"] == receipt["evaluation"]
    assert "evaluation" in succeeds("inspect", out).stdout
    with out.open("ab") as file:
        file.write(b"x")
    assert "another file" in as_json("inspect", out)["receipt"]


def test_quantize_without_a_receipt(tmp_path, wide):
    out = tmp_path / "a.gguf"
    receipt = as_json("quantize", wide, out, "--method", "itf", "--no-eval", "--no-receipt")
    assert "evaluation" not in receipt and [path.name for path in tmp_path.iterdir()] == ["a.gguf"]
    assert "receipt" not in as_json("inspect", out)


def test_quantize_reads_the_texts_first(tmp_path, wide):
    assert "absent.txt" in fails(1, "quantize", wide, tmp_path / "a.gguf", "--eval", tmp_path / "absent.txt")
    assert list(tmp_path.iterdir()) == []


# ---- verify ----

def test_verify():
    report = as_json("verify", LLAMA)
    assert report["checks"] and all(check["ok"] is True for check in report["checks"])
    shown = succeeds("verify", LLAMA).stdout
    assert shown.endswith(f"All {len(report['checks'])} checks passed.\n")
    assert succeeds("verify", LLAMA, "--quiet").stdout == ""


# ---- Hugging Face folders ----

@pytest.mark.parametrize("name", ["llama", "qwen3", "gemma2"])
def test_quantize_into_a_folder(name, tmp_path):
    """A folder becomes a folder, which runs, verifies and becomes a GGUF file that says the same."""
    source, out, again = MODELS / name / "hf", tmp_path / "ternary", tmp_path / "again.gguf"
    before = {path.name for path in source.iterdir()}
    receipt = as_json("quantize", source, out, "--method", "itf", "--group", 32, "--no-eval")
    assert receipt["ternary_bits_per_weight"] < 3
    assert {path.name for path in out.iterdir()} <= before | {"model.safetensors"}
    assert {path.name for path in tmp_path.iterdir()} == {"ternary", "ternary.receipt.json", "ternary.receipt.html"}
    assert receipt["output_bytes"] == (out / "model.safetensors").stat().st_size
    assert as_json("inspect", out)["receipt"]["input"] == str(source)
    config = json.loads((out / "config.json").read_text())
    assert config["quantization_config"]["quant_method"] == "sterna"
    ask = ["-p", "they", "-n", 8, "--ignore-eos", "--temp", 0]
    said = as_json("run", out, *ask)["text"]
    succeeds("verify", out)
    succeeds("convert", out, again)
    assert as_json("run", again, *ask)["text"] == said
    assert "already" in fails(1, "quantize", source, out, "--method", "itf")
    assert "native" in fails(1, "quantize", source, tmp_path / "b", "--method", "itf", "--type", "Q2_0")
    assert "such a folder" in fails(1, "quantize", again, tmp_path / "b", "--method", "itf")
    names = {path.name for path in tmp_path.iterdir()}
    assert {name for name in names if "receipt" not in name} == {"again.gguf", "ternary"}


def test_a_folder_keeps_its_transform(tmp_path, text):
    """Calibrated, with a Hadamard transform: config.json tells it, GGUF takes it over."""
    source, out, again = MODELS / "llama" / "hf", tmp_path / "ternary", tmp_path / "again.gguf"
    receipt = as_json("quantize", source, out, "--tokens", 512, "--group", 32, "--threads", 1, "--tune", "4k")
    assert len(receipt["evaluation"]) == 3 and all(one["kl"] > 0 for one in receipt["evaluation"])
    assert receipt["tuning"]["tokens"] == 4096
    assert receipt["settings"]["transform"] is True
    keys = json.loads((out / "config.json").read_text())["quantization_config"]
    assert any("hadamard.weight_names" in key for key in keys)
    succeeds("verify", out)
    succeeds("convert", out, again)
    score = ["--text", text, "--context", 64]
    there, here = as_json("eval", out, *score)["perplexity"], as_json("eval", again, *score)["perplexity"]
    assert there == pytest.approx(here, rel=1e-3)
    assert "transformed" in fails(1, "convert", out, tmp_path / "bare.safetensors")
