#!/usr/bin/env bash
# The training commands end to end on a made-up book: prepare, train, go on, export, check.
. "$(dirname "$0")/../e2e/lib.sh"

train=${SHADOWATTN_TRAIN:?folder of the training commands}
programs=${SHADOWATTN_LLAMA_BIN:?folder of llama.cpp programs}
llama=${SHADOWATTN_LLAMA_TREE:?source tree of llama.cpp}
python=${SHADOWATTN_PYTHON:?a Python that has PyTorch}
export PYTHONDONTWRITEBYTECODE=1
if ! "$python" -c 'import torch, numpy, regex, matplotlib, yaml, tqdm' 2>err; then
  echo "SKIPPED: $(tail -n 1 err); scripts/install-deps train installs what is missing"
  exit 77
fi

run_case 0 "$python" -m unittest discover -s "$train"

# A book of words that come often enough to be keys and values, and one held out.
"$python" - <<'END'
import random
dice = random.Random(1)
words = ["".join(dice.choices("abcdefghiklmnorstu", k=dice.randint(4, 8))) for _ in range(60)]
def sentence():
    return " ".join(dice.choices(words, k=9)).capitalize() + "."
def book(paragraphs):
    return "\n".join(" ".join(sentence() for _ in range(5)) for _ in range(paragraphs))
open("books.txt", "w").write(book(800) + "\f" + book(800))
import os; os.mkdir("heldout"); open("heldout/other.txt", "w").write(book(160))
END
cat >tiny.json <<'END'
{"model": {"vocabulary": 600, "layers": 3, "heads": 4, "kv_heads": 2, "head_dim": 32,
           "feed_forward": 64, "rope_base": 1e8, "context": 1024},
 "seed": 1, "tokens": 4096, "batch_tokens": 512, "pass_tokens": 256,
 "rates": {"matrix": 0.003, "match": 0.001, "copy": 0.0003, "embedding": 0.01, "vector": 0.004},
 "clip": 1.0, "guard": 0.3, "trust": {"louder": 1.4, "sink": 0.95}, "warm_up": 0.01,
 "decay": 0.4, "stages": [[0.5, 64], [1.0, 128]]}
END
run_case 0 "$python" "$train/prepare.py" books.txt --heldout heldout --vocabulary 600 -o data
expect_out '^other.txt: 0 of '
run_case 0 "$python" "$train/train.py" tiny.json --data data -o whole
expect_out '^saved whole/checkpoint.pt after 4096 tokens$'

# Stopped and gone on with gives the same weights.
run_case 0 "$python" "$train/train.py" tiny.json --data data -o parts --steps 3
run_case 0 "$python" "$train/train.py" tiny.json --data data -o parts
expect_out '^going on after step 3, 1536 tokens$'
run_case 0 "$python" - <<'END'
import torch
one, two = (torch.load(f"{name}/checkpoint.pt")["model"] for name in ("whole", "parts"))
assert all(torch.equal(one[name], two[name]) for name in one), "another model after going on"
END
# Two processes share a batch.
run_case 0 "$python" "$train/train.py" tiny.json --data data -o two --processes 2 --tokens 1024
expect_out '^saved two/checkpoint.pt after 1024 tokens$'

run_case 0 "$python" "$train/export.py" whole/checkpoint.pt --data data --llama "$llama" \
  -o tiny.gguf
head -c 2000 heldout/other.txt >part.txt
run_case 0 "$shadowattn" run -m tiny.gguf -f part.txt -n 4 -p " And"
run_case 0 "$python" "$train/check.py" whole/checkpoint.pt --data data --llama "$llama" \
  --programs "$programs" -f heldout/other.txt -c 256
expect_out '^tokens: 0 of 512 differ$'
run_case 0 "$python" "$train/report.py" whole --data data -f heldout/other.txt -c 512 -o whole
[ -s whole/positions.svg ] || fail "no picture of losses by position"

# What must be refused.
run_case 1 "$python" "$train/prepare.py" heldout/other.txt --vocabulary 300 -o refused
expect_err 'give more text or a larger --vocabulary'

cp books.txt heldout/known.txt
run_case 1 "$python" "$train/prepare.py" books.txt --heldout heldout -o refused
expect_err 'known.txt is held out'
[ ! -e refused ] || fail "wrote although a held-out book is in the books"
