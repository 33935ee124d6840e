"""Text to vectors: the embedders, and where their models come from."""
