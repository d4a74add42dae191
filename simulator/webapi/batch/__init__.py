"""`$batch`: the multipart reader, the run, and the multipart writer. Shares nothing with the clients under test."""
