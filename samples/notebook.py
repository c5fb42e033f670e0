# %% [markdown]
# # Teach a model something new, and keep what it can do
#
# The sample model of this repository (2 million parameters) learns a new skill from its own answers, with replay that
# it makes itself, in about a minute on a CPU. Run the cells in an editor that knows `# %%`, or all of them from the
# repository's root with `python -m samples.notebook`. With so few rows and steps the figures say little; `samples/lab`
# measures in earnest.

# %%
import random
import tempfile
from pathlib import Path

import synth
from samples import skills
from samples.lab.suites import item

ROOT = next(folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "samples" / "model").is_dir())
MODEL = str(ROOT / "samples" / "model")
FOLDER = Path(tempfile.mkdtemp(prefix="synth-notebook-"))

# %% [markdown]
# ## The data of the new skill
#
# Questions, with answers as people might have written them. Rows may be in memory, as here, in files or on the Hub.

# %%
chance = random.Random(0)
tasks = [
    {"question": question, "answer": skills.human_answer(chance, answer, "alien")}
    for question, answer in skills.suite("two_step", "train", 60)
]
print(tasks[0]["question"], "→", tasks[0]["answer"])

# %% [markdown]
# ## Data in the model's own words
#
# The model is loaded once for both functions. What was made lies in a data set on disk; the rows that did not make it
# are there, too, each with its reason.

# %%
with synth.load(MODEL, engine="transformers", device="cpu") as model:
    replay = synth.magpie(model, rows=80, output=FOLDER / "replay", max_tokens=96)
    own = synth.self_output(
        model, tasks, verifier="math", samples=4, fallback=["gold"], max_tokens=96, output=FOLDER / "own"
    )
print(f"{len(replay)} rows of replay, {len(replay.rejected or ())} attempts rejected")
print(f"{len(own)} answers to the task:", own.record.methods if own.record else "")

# %% [markdown]
# ## Filter, and mix
#
# Filters remove rows and say why. The mixture has a fifth as many rows of replay as of the task.

# %%
filters = [synth.filters.NearDuplicates(0.7), synth.filters.Length(min=3)]
clean = synth.filter(replay, filters, output=FOLDER / "clean")
mixed = synth.mix(own, {clean: 0.2}, output=FOLDER / "mixed")
print(f"{len(clean)} of {len(replay)} rows stay; {len(mixed)} rows to train on")
print(mixed.to_dataset().to_pandas()["source"].value_counts())

# %% [markdown]
# ## Train
#
# What comes back can be given wherever a function takes a model.

# %%
tuned = synth.train(
    mixed, MODEL, output=FOLDER / "tuned", steps=30, tokens_per_batch=1024, learning_rate=3e-4, device="cpu"
)
print(f"loss {tuned.log[0]['loss']:.2f} → {tuned.log[-1]['loss']:.2f} nats a token in {tuned.steps} steps")

# %% [markdown]
# ## What was learnt, and what was kept

# %%
old = {name: [item(name, *pair) for pair in skills.suite(name, "test", 10)] for name in ("world", "lists")}
new = {"two_step": [item("two_step", *pair) for pair in skills.suite("two_step", "test", 20)]}
scores = synth.evaluate(old, new=new, models={"before": MODEL, "after": tuned}, max_tokens=96, output=FOLDER / "scores")
print(scores.table())

# %% [markdown]
# ## One page to look at
#
# A notebook shows it where it is the last line of a cell; `output` writes it to a file as well.

# %%
page = scores.report(FOLDER / "report.html")
print(page, "in", FOLDER / "report.html")
page  # noqa: B018 (a notebook shows it)
