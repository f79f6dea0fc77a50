from .bert_encoder import BertEncoder
from .clip_text_encoder import CLIPTextEncoder

__all__ = ['BertEncoder', 'CLIPTextEncoder']
