"""The filters and selections that `synth.filter` takes, with their settings: `synth.filters.NearDuplicates(0.7)`.

They are those that `synth filter --list` shows, by the same names and with the same settings. How many rows a
selection keeps is a number, or a share such as "10%".
"""

from synth.curation.filters import (
    Against,
    Column,
    Contamination,
    Digits,
    Duplicates,
    Language,
    Length,
    NearDuplicates,
    PersonalData,
    Refusal,
    RepeatedLines,
    RepeatedWords,
    Roles,
    Secrets,
    SemanticDuplicates,
    Symbols,
    TemplateDebris,
    Unfinished,
)
from synth.curation.registry import Step
from synth.curation.selections import (
    Bottom,
    Diverse,
    Longest,
    Random,
    Representatives,
    ShortestRight,
    Stratified,
    Tokens,
    Top,
)

__all__ = [
    "Against",
    "Bottom",
    "Column",
    "Contamination",
    "Digits",
    "Diverse",
    "Duplicates",
    "Language",
    "Length",
    "Longest",
    "NearDuplicates",
    "PersonalData",
    "Random",
    "Refusal",
    "RepeatedLines",
    "RepeatedWords",
    "Representatives",
    "Roles",
    "Secrets",
    "SemanticDuplicates",
    "ShortestRight",
    "Step",
    "Stratified",
    "Symbols",
    "TemplateDebris",
    "Tokens",
    "Top",
    "Unfinished",
]
