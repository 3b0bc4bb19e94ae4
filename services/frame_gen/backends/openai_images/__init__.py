"""Images bought from OpenAI, each once.

    backends.openai -> purchases -> {client -> answers, ledger}, with orders and failures as values

`ledger` alone imports obstore, `client` and `answers` alone import openai.
"""
