#!/usr/bin/env python3
"""Logits of a GGUF model in libsterna against transformers, which dequantises the same file to float32.

    python tools/reference/compare_logits.py MODEL.gguf TEXT [--tokens 256] [--library build/libsterna.so]

Prints, for float32 arithmetic and for the default one, the largest difference of a logit as a share of
the range of all logits, the mean divergence KL(transformers || Sterna) in nats per token, how often both
find the same token most likely, and both negative log-likelihoods. Run by developers, not by CI.
"""
import argparse
import ctypes
from pathlib import Path

import numpy as np
import torch
import transformers


class ModelOptions(ctypes.Structure):
    """sterna_model_options of include/sterna.h."""
    _fields_ = [("cpu", ctypes.c_char_p), ("threads", ctypes.c_int), ("arithmetic", ctypes.c_int),
                ("i2s_order", ctypes.c_char_p), ("progress", ctypes.c_void_p),
                ("progress_context", ctypes.c_void_p)]


class SessionOptions(ctypes.Structure):
    """sterna_session_options."""
    _fields_ = [("context", ctypes.c_uint32), ("cache", ctypes.c_int)]


class Error(ctypes.Structure):
    """sterna_error."""
    _fields_ = [("status", ctypes.c_int), ("message", ctypes.c_char * 1024)]


def sterna_logits(library, model: Path, ids: list[int], arithmetic: int, cache: int) -> np.ndarray:
    error, handle, session = Error(), ctypes.c_void_p(), ctypes.c_void_p()

    def check(status):
        if status:
            raise SystemExit(error.message.decode())

    options = ModelOptions(arithmetic=arithmetic)
    check(library.sterna_model_open(str(model).encode(), ctypes.byref(options), ctypes.byref(handle),
                                    ctypes.byref(error)))
    vocabulary = library.sterna_model_vocabulary(handle)
    where = SessionOptions(len(ids), cache)
    check(library.sterna_session_new(handle, ctypes.byref(where), ctypes.byref(session),
                                     ctypes.byref(error)))
    logits = np.empty((len(ids), vocabulary), np.float32)
    check(library.sterna_session_append(
        session, (ctypes.c_int32 * len(ids))(*ids), ctypes.c_size_t(len(ids)),
        logits.ctypes.data_as(ctypes.c_void_p), ctypes.byref(error)))
    library.sterna_session_free(session)
    library.sterna_model_close(handle)
    return logits


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return torch.log_softmax(torch.from_numpy(logits).double(), -1).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--library", type=Path, default=Path("build/libsterna.so"))
    arguments = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()
    place = {"pretrained_model_name_or_path": arguments.model.parent,
             "gguf_file": arguments.model.name}
    tokenizer = transformers.AutoTokenizer.from_pretrained(**place)
    text = arguments.text.read_text(encoding="utf-8")[: 16 * arguments.tokens]
    ids = tokenizer(text, add_special_tokens=False).input_ids[: arguments.tokens]
    model = transformers.AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32).eval()
    with torch.no_grad():
        want = model(torch.tensor([ids])).logits[0].numpy()
    del model
    library = ctypes.CDLL(str(arguments.library.resolve()))
    library.sterna_model_vocabulary.restype = ctypes.c_uint32
    library.sterna_session_free.argtypes = library.sterna_model_close.argtypes = [ctypes.c_void_p]
    reference, span = log_softmax(want), float(want.max() - want.min())
    places = np.arange(len(ids) - 1)
    nll = -reference[places, ids[1:]].mean()
    print(f"transformers      nll {nll:.5f}, {len(ids)} tokens, range of the logits {span:.2f}")
    for name, arithmetic, cache in (("float32, F32 cache", 1, 1), ("default arithmetic", 0, 0)):
        got = sterna_logits(library, arguments.model, ids, arithmetic, cache)
        found = log_softmax(got)
        divergence = (np.exp(reference) * (reference - found)).sum(-1).mean()
        same = (got.argmax(-1) == want.argmax(-1)).mean()
        print(f"{name}  nll {-found[places, ids[1:]].mean():.5f}, largest difference "
              f"{np.abs(got - want).max() / span:.2e} of the range, KL {divergence:.2e}, "
              f"same top token {100 * same:.1f} %")


if __name__ == "__main__":
    main()
