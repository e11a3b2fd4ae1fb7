"""Building MetaCLIP's metadata: the entries that captions are matched with.

Sources and their order are the paper's (Xu et al., ICLR 2024, arXiv 2309.16671,
table 1): names of WordNet's synsets, then a corpus's frequent words, its
bigrams with high mutual information, and titles of often viewed articles.
"""
