"""All that knows FAISS: searching vectors, and the file of them beside the database."""
