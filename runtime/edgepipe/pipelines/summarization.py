"""Summarization: a shorter text for a text."""

from __future__ import annotations

from edgepipe.pipelines.base import Result
from edgepipe.pipelines.text2text_generation import Text2TextGeneration, TokenIds


class Summarization(Text2TextGeneration[Result, TokenIds]):
    """Summaries, as transformers 4.57's ``SummarizationPipeline`` gives them.

    ::

        summarize = pipeline("summarization", "path/to/bundle")
        summarize(article, max_new_tokens=60)  # [{"summary_text": "..."}]

    Options are those of text-to-text generation. Results have ``summary_text`` or ``summary_token_ids``.
    """

    name = "summarization"
    result_name = "summary"
