# %% [markdown]
# # From texts to a search
#
# Needs a service with its small model (`_system/local-small`), and in the environment VECFERRY_URL and VECFERRY_KEY,
# the key of a user. Running it again is harmless.

# %%
import os

import numpy as np

from vecferry import Client

client = Client(os.environ["VECFERRY_URL"], os.environ["VECFERRY_KEY"])
user = client.whoami().user_handle

# %% [markdown]
# ## What turns texts into vectors, and a project that holds them

# %%
client.instances.from_definition(f"{user}/here", "_system/local-small")
project = client.projects.put(f"{user}/proverbs", instance=f"{user}/here", description="Proverbs and their themes")
print(project.instance())

# %% [markdown]
# ## Texts in
#
# The service embeds them. Those that are stored already are not embedded again.

# %%
PROVERBS = [
    ("apple", "food", "An apple a day keeps the doctor away"),
    ("cooks", "food", "Too many cooks spoil the broth"),
    ("cake", "food", "You cannot eat your cake and have it too"),
    ("bird", "animals", "A bird in the hand is worth two in the bush"),
    ("cat", "animals", "When the cat is away the mice will play"),
    ("dogs", "animals", "Let sleeping dogs lie"),
    ("horse", "animals", "You can lead a horse to water but you cannot make it drink"),
    ("rain", "weather", "It never rains but it pours"),
    ("cloud", "weather", "Every cloud has a silver lining"),
    ("lightning", "weather", "Lightning never strikes twice in the same place"),
]
stored = project.texts({"text_id": name, "text": text, "metadata": {"theme": theme}} for name, theme, text in PROVERBS)
print(f"{stored.inserted} inserted, {stored.unchanged} unchanged")

# %% [markdown]
# ## Search by meaning
#
# The similarity is 1 minus the cosine distance. Without `threshold` only what is above 0.5 is found.

# %%
for one in project.similar(text="a sleeping puppy", limit=3, threshold=0, include=["text"]):
    print(f"{one.similarity:.3f}  {one.id:10} {one.text}")

# %% [markdown]
# Only among those whose metadata pass a filter:

# %%
storms = project.similar(text="a storm with thunder", limit=2, threshold=0, filter={"theme": "weather"})
print([one.id for one in storms])

# %% [markdown]
# ## As arrays
#
# All embeddings, and the nearest neighbours of each, the first of which is itself.

# %%
embeddings = list(project.embeddings)
vectors = np.stack([one.vector for one in embeddings])
ids, similarities = project.search_many(vectors, limit=3, threshold=-1).arrays()
print(vectors.shape, vectors.dtype, ids.shape, similarities.dtype)
for names, values in zip(ids, similarities, strict=True):
    print(f"{names[0]:10} is like {names[1]:10} ({values[1]:.3f})")

# %% [markdown]
# ## Into a file

# %%
print(project.pull("proverbs.jsonl").rows, "rows in proverbs.jsonl")
client.close()
