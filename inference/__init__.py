"""What an inference service uses: searching the collections that the pipeline keeps."""
