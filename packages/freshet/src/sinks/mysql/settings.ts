/** What is to be said of MySQL or MariaDB: what of every SQL database, with their own limits. */
import { sqlSettings } from '../sql/settings.ts'

export const mysqlSettings = sqlSettings({
  protocols: ['mysql:', 'mariadb:'],
  example: 'mysql://shop@db.example.com/shop',
  nameBytesMax: 64,
})
