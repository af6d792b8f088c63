"""An OpenAI-compatible server over one base model, its adapters and its states.

    http       routes -> jobs, events -> answers        asyncio, one thread
    engine     jobs -> events                           a thread of its own
    scheduler  a forward for all rows of a model at every token, slices of prompts in between

A job (`jobs`) is a prompt and how to go on from it; what is generated comes back as events.
"""
