"""Summarization: a shorter text for a text."""

from __future__ import annotations

from edgepipe.pipelines.text2text_generation import Text2TextGeneration


class Summarization(Text2TextGeneration):
    """Summaries, as transformers 4.57's ``SummarizationPipeline`` gives them; options as for text-to-text generation.

    Results have ``summary_text`` or ``summary_token_ids``.
    """

    name = "summarization"
    result_name = "summary"
