"""Sign-in as Entra does it: tokens for application users, over TLS, and what the Web API makes of them."""
