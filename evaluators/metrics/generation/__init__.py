"""Figures of generated captions, answers and boxes.

  captioning  BLEU, ROUGE-L, CIDEr and METEOR of captions beside references
  clip_score  CLIPScore and RefCLIPScore, of embeddings
  chair       objects that captions name and that are not in the image
  pope        answers to "Is there a ... in the image?"
  referring   boxes of expressions, right at an IoU of 0.5

Each record has the figures of all examples, and under "parts" the same of each
domain or split. A figure that another tokenizer, model or list of words changes
has another name than the published one.

Shape letters beside those of models/layers.py: N images or examples, M
references of all images, R resamples, C clusters.
"""

# Kind of a record -> key of the number of its examples.
SIZES = {
  "captioning": "num_images",
  "object_hallucination": "num_images",
  "polling": "num_questions",
  "referring": "num_expressions",
}
