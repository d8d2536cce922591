"""The method in miniature: sound and words aligned through pictures, in a world made for it."""
