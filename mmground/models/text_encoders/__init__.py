from .bert_encoder import BertEncoder
from .clip_text_encoder import CLIPTextEncoder
from .word_rnn_encoder import WordRNNEncoder
from .word_vocabulary import WordVocabulary

__all__ = ['BertEncoder', 'CLIPTextEncoder', 'WordRNNEncoder', 'WordVocabulary']
