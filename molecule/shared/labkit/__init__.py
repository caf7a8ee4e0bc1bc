"""The lab's library: images, labs, and the mail provider in them."""
