"""The command lines that are tried. Words in capitals stand for what a scene puts there.

IN and IN2 are files or directories, damaged; SOUND is a file that is not. MODEL is damaged where models are; SAMPLE
never is. OUT is a place that is free.
"""

import re
from typing import Any

ASKED = ["--engine", "transformers", "--max-tokens", "16"]
MODEL = ["--model", "MODEL", *ASKED]
EXACT = ["--verifier", "exact"]
SSR = ["--model", "MODEL", "--engine", "transformers", "-n", "1", "--candidates", "2", "--max-tokens", "60"]

METHODS = "tests.fuzz.methods"

CHEAP: list[list[str]] = [
    ["show", "IN"],
    ["show", "IN", "-n", "2", "--plain"],
    ["export", "IN"],
    ["export", "IN", "-o", "OUT.parquet"],
    ["export", "IN", "-o", "OUT.jsonl", "--for", "trl"],
    ["export", "IN", "-o", "OUT", "--for", "axolotl"],
    ["export", "IN", "-o", "OUT.jsonl", "--for", "llama-factory"],
    ["export", "IN", "--for", "torchtune", "-o", "OUT.jsonl"],
    ["export", "IN", "--for", "ms-swift", "-o", "OUT.jsonl"],
    ["export", "IN", "--as", "preference", "--for", "jsonl", "-o", "OUT.jsonl"],
    ["export", "IN", "--as", "prompt-completion", "--for", "jsonl", "-o", "OUT.jsonl"],
    ["export", "IN", "--as", "alpaca", "--for", "jsonl", "-o", "OUT.jsonl"],
    ["export", "IN", "--for", "grpo", *EXACT, "-o", "OUT"],
    ["export", "IN", "--for", "sdft", "-o", "OUT"],
    ["export", "IN", "--for", "verl", "--verifier", "json", "-o", "OUT"],
    ["export", "IN", "--for", "openrlhf", "-o", "OUT"],
    ["export", "IN", "-o", "OUT"],
    ["report", "IN", "-o", "OUT.html"],
    ["push", "IN", "user/name"],
    ["join", "IN", "-o", "OUT"],
    ["plan", "IN"],
    ["filter", "IN", "--dedup", "exact"],
    ["filter", "IN", "--dedup", "near", "--filter", "length:min=3", "-o", "OUT"],
    ["filter", "IN", "--filter", "column:score,min=1", "--filter", "language:en", "--filter", "personal-data"],
    ["filter", "IN", "--filter", "contamination:IN2", "--keep", "random:2", "--explain"],
    ["filter", "IN", "--against", "IN2", "--keep", "top:score,50%"],
    ["mix", "IN", "--replay", "IN2:50%", "--oversample"],
    ["mix", "IN", "--replay", "IN2:100%", "--oversample", "--as", "messages", "-o", "OUT"],
    ["mix", "IN", "--replay", "IN2:10%", "--by", "tokens", "--model", "MODEL", "-o", "OUT"],
    ["mix", "SOUND", "--replay", "IN:100%", "--replay", "IN2:100%", "--order", "shuffle", "-o", "OUT"],
    ["mix", "IN", "--replay", "IN2:100%", "--replay", "SOUND:100%", "--order", "append"],
    ["verify", "IN"],
    ["verify", "IN", *EXACT],
    ["verify", "IN", "--references", *EXACT],
    ["verify", "IN", "--verifier", "number", "-o", "OUT"],
    ["verify", "IN", "--verifier", "regex", "--pattern", "5"],
    ["verify", "IN", "--verifier", "choice"],
    ["verify", "IN", "--verifier", "json"],
    ["verify", "SOUND", "--verifier", "json", "--schema", "IN"],
    ["verify", "IN", "--verifier", "function-call"],
    ["verify", "IN", "--verifier", "instructions"],
    ["verify", "IN", "--verifier", "refusal"],
]
COSTLY: list[list[str]] = [
    ["verify", "IN", "--verifier", "math"],
    ["verify", "IN", "--verifier", "code", "--time-limit", "1"],
    ["verify", "IN", "--verifier", "compile", "--time-limit", "1"],
    ["verify", "IN", "--verifier", "majority"],
    ["score-tokens", "IN", "--model", "MODEL", "-o", "OUT"],
    ["score-tokens", "IN", "--model", "MODEL", "--mask-hardest", "20%"],
    ["score-tokens", "IN", "--model", "MODEL", "--overlong", "window", "--max-length", "16", "--preview"],
    ["train", "IN", "--model", "MODEL", "-o", "OUT", "--dry-run"],
    ["train", "IN", "--model", "MODEL", "-o", "OUT", "--dry-run", "--eval", "IN2"],
    ["train", "IN", "--model", "MODEL", "-o", "OUT", "--steps", "1", "--batch-tokens", "256"],
    ["train", "IN", "--model", "MODEL", "--text-column", "text", "--dry-run"],
    ["train", "SOUND", "--model", "MODEL", "--peft", "IN", "-o", "OUT", "--dry-run"],
    ["filter", "IN", "--dedup", "semantic:MODEL"],
    ["show", "IN", "--model", "MODEL"],
    ["report", "IN", "--model", "MODEL", "-o", "OUT.html"],
    ["eval", "IN", *MODEL, "--limit", "2"],
    ["eval", "IN", *MODEL, "--limit", "2", "--new", "IN2", "-o", "OUT", *EXACT],
    ["eval", "SOUND", "--new", "IN", "--model", "a=SAMPLE", "--model", "b=MODEL", *ASKED, "--kl", "--json", *EXACT],
    ["eval", "IN", "--new", "SOUND", "--model", "SAMPLE", "--model", "MODEL", *ASKED, "--sweep", "0.5", "-o", "OUT"],
    ["eval", "--text", "IN", "--model", "MODEL", "--engine", "transformers"],
    ["eval", "--text", "t=IN", "--text-column", "text", "--model", "MODEL", "--engine", "transformers"],
    ["rate", "IN", "--model", "MODEL", "--by", "perplexity,ifd", "--engine", "transformers"],
    ["rate", "IN", "--model", "MODEL", "--by", "quality", "--engine", "transformers", "--max-tokens", "8"],
    ["rate", "SOUND", "--model", "MODEL", "--by", "IN", "--engine", "transformers", "--max-tokens", "8"],
    ["self-output", "IN", *MODEL, *EXACT, "--samples", "1"],
    ["self-output", "IN", *MODEL, "--verifier", "none", "--samples", "1"],
    ["iterate", "IN", "--model", "MODEL", "--new", "IN2", *EXACT, "--dry-run"],
    [
        "self-output",
        "IN",
        *MODEL,
        *EXACT,
        "--fallback",
        "minimum-change,gold",
        "--few-shot",
        "1",
        "--pairs",
        "-o",
        "OUT",
    ],
    ["paraphrase", "IN", *MODEL, *EXACT],
    ["paraphrase", "SOUND", *MODEL, *EXACT, "--style", "IN"],
    ["minimum-change", "IN", *MODEL, *EXACT, "--retries", "0"],
    ["reason", "IN", *MODEL, *EXACT, "--samples", "2", "--search", "1", "--step-rollouts", "1"],
    ["distil", "IN", "--teacher", "MODEL", *ASKED, "--price-out", "1", "--most", "1"],
    ["refuse", "IN", "IN2", *MODEL, "--samples", "1"],
    ["rephrase", "IN", *MODEL, "--originals", "1:1", "--chunk-tokens", "20"],
    ["continue", "IN", *MODEL, "--limit", "2"],
    ["ssr", "IN", *SSR],
    ["lamol", "--prepare", "IN", "--model", "MODEL", "-o", "OUT"],
    ["lamol", "--of", "IN", *MODEL, "--max-tokens", "2"],
    ["magpie", *MODEL, "-n", "1", "--question-tokens", "2", "--system", "@IN"],
    ["run", f"{METHODS}:answered", "IN", *MODEL],
    ["run", f"{METHODS}:copied", "IN", *MODEL, *EXACT, "-o", "OUT"],
    ["run", f"{METHODS}:tried", "IN", *MODEL, "--verifier", "json", "--schema", "IN2", "-o", "OUT.parquet"],
    ["run", "IN", "SOUND", *MODEL],
]
OF_A_MODEL: list[list[str]] = [
    ["template", "--model", "MODEL", "--json"],
    ["template", "--model", "MODEL"],
    ["score-tokens", "IN", "--model", "MODEL"],
    ["train", "IN", "--model", "MODEL", "-o", "OUT", "--dry-run"],
    ["train", "IN", "--model", "MODEL", "-o", "OUT", "--steps", "1", "--lora", "2", "--batch-tokens", "256"],
    ["merge", "SAMPLE", "MODEL", "--ratio", "0.5", "-o", "OUT"],
    ["merge", "MODEL", "SAMPLE", "--add", "SAMPLE", "-o", "OUT"],
    ["magpie", *MODEL, "-n", "1"],
    ["sample", *MODEL, "-n", "1", "--length", "4"],
    ["lamol", *MODEL, "-n", "1", "--max-tokens", "2"],
    ["self-output", "IN", "--model", "SAMPLE", "--answer-model", "MODEL", *ASKED, *EXACT],
    ["run", f"{METHODS}:answered", "IN", *MODEL],
    ["rate", "IN", "--model", "MODEL", "--by", "reward"],
    ["filter", "IN", "--dedup", "semantic:MODEL"],
    ["eval", "IN", "--model", "a=SAMPLE", "--model", "b=MODEL", *ASKED, *EXACT],
]
OF_A_FOLDER: list[list[str]] = [
    ["show", "IN"],
    ["report", "IN", "-o", "OUT.html"],
    ["export", "IN"],
    ["filter", "IN", "--dedup", "exact"],
    ["mix", "IN", "--replay", "IN:50%"],
    ["verify", "SOUND", *EXACT, "-o", "IN"],
    ["verify", "SOUND", *EXACT, "-o", "IN", "--restart"],
    ["train", "IN", "--model", "MODEL", "--dry-run"],
]
RESUMED: list[list[str]] = [
    ["verify", "SOURCE", "--verifier", "number"],
    ["score-tokens", "SOURCE", "--model", "MODEL"],
    ["eval", "SOURCE", *MODEL, "--verifier", "number"],
    ["train", "SOURCE", "--model", "MODEL", "--steps", "2", "--save-every", "1", "--batch-tokens", "256"],
    ["ssr", "SOURCE", *SSR],
    ["run", f"{METHODS}:tried", "SOURCE", *MODEL, *EXACT],
]
"""Each goes on with what it left in IN, which is damaged since: the directory of `-o`."""
OF_A_MANIFEST: list[list[str]] = [
    ["describe", "IN", *MODEL],
    ["describe", "IN", *MODEL, "--style", "continue", "--max-seconds", "1", "-o", "OUT"],
    ["describe", "IN", *MODEL, "--prompts", "IN2", "--attributes", "duration,pitch", "-o", "OUT.parquet"],
    ["describe", "IN", *MODEL, "--style", "IN2"],
]

MORE = [["--limit", "1" + "0" * 20], ["--quiet"], ["-n", "9" * 21], ["-o", "/dev/full"], ["-o", "a" * 500]]


def with_names(command: list[str], names: dict[str, Any]) -> list[str]:
    """A command line with what its words in capitals stand for."""
    words = re.compile(rf"\b({'|'.join(names)})\b")
    return [words.sub(lambda found: str(names[found.group()]), word) for word in command]
