"""What client, server and mail share; imports none of them."""
