// A real OpenID provider for tests, and a browser that clicks through it: `node provider.mjs`.
// It prints one line, `{"issuer":"http://127.0.0.1:PORT"}`, when it serves, and ends with its standard input.
//
// GET /test/browse?url=U&account=A  goes to U as a browser of A would and answers where that came to.
// GET /test/deny?url=U&account=A    the same, and A says no.
import { createServer } from 'node:http';
import Provider from 'oidc-provider';

const BACK = 'http://127.0.0.1:9/back';
const server = createServer();
await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
const issuer = `http://127.0.0.1:${server.address().port}`;

/** What is known of each account: its groups, and whether its address was verified. */
const people = new Map();

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: 'curfew',
      token_endpoint_auth_method: 'none',
      redirect_uris: [BACK],
      response_types: ['code'],
      grant_types: ['authorization_code', 'urn:ietf:params:oauth:grant-type:device_code'],
      application_type: 'native',
    },
    {
      client_id: 'other',
      token_endpoint_auth_method: 'none',
      redirect_uris: [BACK],
      response_types: ['code'],
      grant_types: ['authorization_code'],
      application_type: 'native',
    },
  ],
  features: { devInteractions: { enabled: false }, deviceFlow: { enabled: true } },
  conformIdTokenClaims: false,
  claims: { openid: ['sub', 'amr'], email: ['email', 'email_verified'], groups: ['groups'] },
  scopes: ['openid', 'email', 'groups'],
  interactions: { url: (_ctx, interaction) => `/test/interaction/${interaction.uid}` },
  findAccount: (_ctx, id) => ({
    accountId: id,
    claims: () => {
      const { groups, verified } = people.get(id);
      const email = id.includes('@') ? id : `${id}@example.com`;
      return { sub: id, email, email_verified: verified, groups };
    },
  }),
  loadExistingGrant: async (ctx) => {
    const grant = new ctx.oidc.provider.Grant({
      clientId: ctx.oidc.client.clientId,
      accountId: ctx.oidc.session.accountId,
    });
    grant.addOIDCScope('openid email groups');
    await grant.save();
    return grant;
  },
});

let account = 'nobody';
let denies = false;

server.on('request', async (request, response) => {
  const url = new URL(request.url, issuer);
  try {
    if (url.pathname.startsWith('/test/interaction/')) {
      const result = denies
        ? { error: 'access_denied', error_description: 'no' }
        : { login: { accountId: account, amr: factors(account) }, consent: {} };
      await provider.interactionFinished(request, response, result);
    } else if (url.pathname === '/test/browse' || url.pathname === '/test/deny') {
      // A name; what stands behind a + are groups, and a ! means an address that nobody has verified.
      const [name, ...groups] = url.searchParams.get('account').split('+');
      account = name.replace('!', '');
      people.set(account, { groups, verified: !name.includes('!') });
      denies = url.pathname === '/test/deny';
      response.end(await browse(url.searchParams.get('url')));
    } else {
      provider.callback()(request, response);
    }
  } catch (error) {
    response.statusCode = 500;
    response.end(String(error));
  }
});

/** How the account proved itself: with a second factor when it is in the group `otp`. */
function factors(id) {
  return people.get(id).groups.includes('otp') ? ['pwd', 'otp'] : ['pwd'];
}

/** Follows redirects and submits forms, as a person would, until the way leads out of here or nothing is left to click. */
async function browse(start) {
  const cookies = new Map();
  let request = { url: start, method: 'GET', body: undefined };
  for (let step = 0; step < 30; step += 1) {
    const headers = { cookie: [...cookies].map(([name, value]) => `${name}=${value}`).join('; ') };
    if (request.body !== undefined) headers['content-type'] = 'application/x-www-form-urlencoded';
    const answer = await fetch(request.url, { ...request, headers, redirect: 'manual' });
    for (const line of answer.headers.getSetCookie()) {
      const [pair] = line.split(';');
      const at = pair.indexOf('=');
      cookies.set(pair.slice(0, at), pair.slice(at + 1));
    }
    const location = answer.headers.get('location');
    if (location) {
      const next = new URL(location, request.url).href;
      if (!next.startsWith(issuer)) return next;
      request = { url: next, method: 'GET', body: undefined };
      continue;
    }
    const page = await answer.text();
    const form = page.match(/<form[^>]*action="([^"]+)"[^>]*>([\s\S]*?)<\/form>/);
    if (!form) return page;
    const fields = new URLSearchParams();
    for (const [input] of form[2].matchAll(/<input[^>]*>/g)) {
      const name = input.match(/name="([^"]*)"/)?.[1];
      if (name && name !== 'abort') fields.set(name, input.match(/value="([^"]*)"/)?.[1] ?? '');
    }
    // A form may stand around its fields, or be named by them from outside.
    for (const [input] of page.matchAll(/<(?:input|button)[^>]*form="[^"]*"[^>]*>/g)) {
      const name = input.match(/name="([^"]*)"/)?.[1];
      if (name && name !== 'abort') fields.set(name, input.match(/value="([^"]*)"/)?.[1] ?? '');
    }
    const action = new URL(form[1].replaceAll('&amp;', '&'), request.url).href;
    request = { url: action, method: 'POST', body: fields.toString() };
  }
  throw new Error(`no end after 30 steps; the last was ${request.url}`);
}

console.log(JSON.stringify({ issuer }));
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
