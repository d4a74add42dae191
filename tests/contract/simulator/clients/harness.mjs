// Runs named operations of a client in order and prints what became of each, a line of JSON each.
import assert from "node:assert/strict";

const operations = [];

/** An operation that has to work. */
export const works = (name, run) => operations.push({ name, run });

/** An operation that has to be refused: `says` stands in the refusal, `reason` in the documentation. */
export const refuses = (name, reason, says, run) => operations.push({ name, run, says, reason });

export async function report() {
  for (const { name, run, says, reason } of operations) {
    let said = null;
    try {
      await run();
    } catch (error) {
      said = `${error?.message ?? JSON.stringify(error)}`;
    }
    const good = says === undefined ? said === null : said !== null && said.includes(says);
    console.log(JSON.stringify({ name, good, said, reason: reason ?? null }));
  }
}

export const configuration = JSON.parse(process.env.CLIENT_MATRIX);
export { assert };
