"""CTranslate2's own file of an encoder without its head: ``CHECKPOINT FOLDER``. It runs in the peers' environment."""

import sys

from ctranslate2.converters import TransformersConverter
from transformers import BertConfig

checkpoint, folder = sys.argv[1:]
# The converter asks for it. transformers 5 has no other kind, and no longer says so.
BertConfig.position_embedding_type = "absolute"
TransformersConverter(checkpoint).convert(folder)
