// @snowplow/node-tracker.
//
// Parameters: `scheme`, `events`, `port`, and for its best tuning `batch_size` and `max_post_bytes`.
// The data are those of common.py; the harness sees to core and calibration.
"use strict";

const { newTracker, buildPageView } = require("@snowplow/node-tracker");
const { newInMemoryEventStore, version } = require("@snowplow/tracker-core");

const given = JSON.parse(process.argv[2]);
const SHARES = given.shares;
const PAGE_TITLE = "Trail running shoes | Acme outdoor shop";
const REFERRER = "https://www.example.org/search?q=trail+running+shoes";
const USERAGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0";

const entities = (number) => [
  {
    schema: "iglu:com.acme/product/jsonschema/1-0-0",
    data: {
      sku: `SKU-${number}`,
      name: "Trail runner, size 43, blue",
      category: "shoes/running/trail",
      price: 129.9,
      currency: "EUR",
      stock: 17,
      brand: "Acme Outdoor",
      list_price: 149.9,
      image: `https://cdn.example.com/products/SKU-${number}/front-1200x900.webp`,
      tags: ["waterproof", "neutral", "8 mm drop"],
    },
  },
  {
    schema: "iglu:com.acme/visitor/jsonschema/2-1-0",
    data: { visits: number, tier: "gold", newsletter: true, groups: ["beta", "sale-2024"] },
  },
];

// As shipped, the store forgets the oldest of more than a thousand events. This one forgets none.
const store = newInMemoryEventStore({ maxSize: 1e9 });
const emitter = { endpoint: "127.0.0.1", protocol: given.scheme, port: given.port, eventStore: store };
if (given.batch_size) emitter.bufferSize = given.batch_size;
if (given.max_post_bytes) emitter.maxPostBytes = given.max_post_bytes;

const tracker = newTracker({ namespace: "bench", appId: "bench", encodeBase64: true }, emitter);
tracker.setPlatform("web");
tracker.setUserId("u-1");
tracker.setLang("en-GB");
tracker.setTimezone("Europe/London");
tracker.setScreenResolution(1920, 1080);
tracker.setViewport(1280, 720);
tracker.setColorDepth(24);
tracker.setIpAddress("203.0.113.7");
tracker.setUseragent(USERAGENT);
tracker.setDomainUserId("bc2e92ec6c204a14");
tracker.setSessionId("9c65e7f3-8e8e-470d-b243-910b5b300da0");
tracker.setSessionIndex(3);

const turn = () => new Promise((resolve) => setImmediate(resolve));

const main = async () => {
  const waits = new Float64Array(given.events);
  const cpuBefore = process.cpuUsage();
  const started = process.hrtime.bigint();
  for (let number = 0; number < given.events; number++) {
    const before = process.hrtime.bigint();
    const pageUrl = `https://shop.example.com/catalogue/shoes/trail?item=${number}&sort=price`;
    tracker.track(buildPageView({ pageUrl, pageTitle: PAGE_TITLE, referrer: REFERRER }), entities(number));
    waits[number] = Number(process.hrtime.bigint() - before);
    // A loop that never pauses would send nothing before its end, and each request copies all the
    // events that wait. These two numbers are the fastest that were tried.
    if ((number + 1) % 100 === 0) {
      do await turn();
      while ((await store.count()) > 300);
    }
  }
  do {
    await tracker.flush();
    await turn();
  } while ((await store.count()) > 0);
  const finished = process.hrtime.bigint();
  const cpu = process.cpuUsage(cpuBefore);
  waits.sort();
  const at = (share) => waits[Math.min(waits.length - 1, Math.floor(share * waits.length))] / 1e3;
  const result = {
    started_ns: Number(started),
    finished_ns: Number(finished),
    cpu_seconds: (cpu.user + cpu.system) / 1e6,
    versions: { node: process.version, "@snowplow/node-tracker": version },
    figures: { p50_us: at(0.5), p99_us: at(0.99), max_us: at(1) },
    percentiles: SHARES.map(at),
  };
  console.log(JSON.stringify(result));
};

main();
