"""Has scim2-tester judge a SCIM service: `judge.py URL ROOT.pem`, the token on standard input.

Prints a line for each check that is no success, and how many there were; ends with 1 when one failed.
"""

import ssl
import sys
from collections import Counter

from httpx2 import Client
from scim2_client.engines.httpx2 import SyncSCIMClient
from scim2_tester import Status, check_server

url, root = sys.argv[1:]
token = sys.stdin.readline().strip()
context = ssl.create_default_context(cafile=root)
headers = {"Authorization": f"Bearer {token}"}
client = SyncSCIMClient(Client(base_url=url, verify=context, headers=headers, timeout=60))
results = check_server(client)
for result in results:
    if result.status not in (Status.SUCCESS, Status.SKIPPED):
        print(f"{result.status.name} {result.resource_type or ''} {result.title}: {result.reason}")
counted = Counter(result.status.name for result in results)
print(", ".join(f"{count} {name.lower()}" for name, count in sorted(counted.items())))
bad = [r for r in results if r.status not in (Status.SUCCESS, Status.SKIPPED)]
sys.exit(1 if bad or len(results) < 55 else 0)
