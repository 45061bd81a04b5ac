"""Erase a thing over HTTP: start `unsay serve`, then `python examples/api.py photo.jpg dog`."""

import sys
import urllib.parse
import urllib.request

photo, *words = sys.argv[1:]
query = urllib.parse.urlencode([("word", word) for word in words])
request = urllib.request.Request(f"http://127.0.0.1:7860/api/erase?{query}", data=open(photo, "rb").read())
with urllib.request.urlopen(request) as answer, open("erased.jpg", "wb") as file:
    file.write(answer.read())
print(answer.headers["X-Unsay-Report"])
